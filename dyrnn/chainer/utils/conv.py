"""Sizes of convolutions' outputs."""


def get_conv_outsize(size, k, s, p, cover_all=False, d=1):
    """Return the output size of a convolution along one axis."""
    span = k + (k - 1) * (d - 1)
    extra = s - 1 if cover_all else 0
    return (size + p * 2 - span + extra) // s + 1


def get_deconv_outsize(size, k, s, p, cover_all=False, d=1):
    """Return the output size of a transposed convolution along one axis."""
    span = (k - 1) * d + 1
    extra = 1 - s if cover_all else 0
    return s * (size - 1) + span + extra - 2 * p
