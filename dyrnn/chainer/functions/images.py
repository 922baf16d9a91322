"""Images (n, c, h, w): their patches, other sizes and places, pixels for channels."""

import itertools

import numpy as np

from dyrnn.chainer.functions.nodes import Arrangement, check_inputs, functions, is_float
from dyrnn.chainer.utils import conv, type_check
from dyrnn.chainer.variable import as_variable


def _pair(x):
    return x if hasattr(x, "__getitem__") else (x, x)


def check_image(in_types):
    """Expect images of float."""
    is_float(in_types, "x")
    type_check.expect(in_types[0].ndim == 4)


class Im2Col(Arrangement):
    """The patches that a filter sees, as channels."""

    def __init__(self, ksize, stride, pad, cover_all, dilate):
        self.sizes = ksize, stride, pad, cover_all, dilate

    def check_type_forward(self, in_types):
        check_image(in_types)

    def compute(self, xp, x):
        (kh, kw), (sy, sx), (ph, pw), cover_all, (dy, dx) = self.sizes
        y = conv.im2col(x, kh, kw, sy, sx, ph, pw, cover_all, dy, dx)
        return y.reshape(len(x), -1, *y.shape[4:])

    def rule(self, gy):
        return Im2ColGrad(self.inputs[0].shape, *self.sizes).apply((gy,))[0]


class Im2ColGrad(Arrangement):
    """Images that are sums of patches."""

    def __init__(self, in_shape, *sizes):
        self.in_shape = in_shape
        self.sizes = sizes

    def compute(self, xp, gy):
        ksize, stride, pad, _, dilate = self.sizes
        n, c, *dims = self.in_shape
        columns = gy.reshape(n, c, *ksize, *gy.shape[2:])
        return conv.from_columns(columns, dims, stride, pad, dilate)

    def rule(self, gy):
        return Im2Col(*self.sizes).apply((gy,))[0]


def im2col(x, ksize, stride=1, pad=0, cover_all=False, dilate=1):
    """Return the patches that a filter sees, (n, c * kh * kw, out_h, out_w)."""
    node = Im2Col(_pair(ksize), _pair(stride), _pair(pad), cover_all, _pair(dilate))
    return node.apply((x,))[0]


def _sources(xp, size, out, mode, align_corners):
    """Return where the ``out`` pixels of an axis lie among its ``size`` pixels.

    That is the one before, and the weight of the one after it.
    """
    if mode == "nearest":
        places = xp.floor(xp.arange(out) * (size / out))
    elif align_corners:
        places = xp.linspace(0, size - 1, out)
    else:
        places = xp.maximum((xp.arange(out) + 0.5) * (size / out) - 0.5, 0)
    before = xp.minimum(xp.floor(places), size - 1).astype(np.intp)
    return before, places - before


def _check_float32(in_types):
    type_check._argname(in_types, ("x",))
    type_check.expect(in_types[0].dtype == np.float32, in_types[0].ndim == 4)


def resize_images(x, output_shape, *, mode="bilinear", align_corners=True):
    """Give images another height and width, by interpolation of pixels.

    With ``align_corners`` the corners stay what they are; without, all pixels, those at
    the border too, are areas of one size, as in OpenCV.
    """
    if mode not in ("bilinear", "nearest"):
        raise ValueError(f"mode must be 'bilinear' or 'nearest', not {mode!r}")
    check_inputs("ResizeImages", _check_float32, x)
    x = as_variable(x)
    for axis, out in zip((2, 3), output_shape, strict=True):
        size = x.shape[axis]
        before, weight = _sources(x.xp, size, out, mode, align_corners)
        head = (slice(None),) * axis
        y = x[(*head, before)]
        if mode == "bilinear":
            after = x[(*head, x.xp.minimum(before + 1, size - 1))]
            weight = weight.astype(x.dtype).reshape((-1,) + (1,) * (3 - axis))
            weight = x.xp.broadcast_to(weight, y.shape)
            y = y * (1 - weight) + after * weight
        x = y
    return x


def _check_theta(in_types):
    type_check._argname(in_types, ("theta",))
    (theta,) = in_types
    type_check.expect(
        theta.dtype.kind == "f",
        theta.ndim == 3,
        theta.shape[1] == 2,
        theta.shape[2] == 3,
    )


def spatial_transformer_grid(theta, output_shape):
    """Return where an affine map takes the points of a grid, (B, 2, height, width).

    Coordinates are from -1 to 1, x before y. ``theta`` (B, 2, 3) has a map for each
    image.
    """
    check_inputs("SpatialTransformerGrid", _check_theta, theta)
    F = functions()
    theta = as_variable(theta)
    xp, (h, w) = theta.xp, output_shape
    ys, xs = xp.meshgrid(xp.linspace(-1, 1, h), xp.linspace(-1, 1, w), indexing="ij")
    points = xp.stack([xs, ys, xp.ones_like(xs)]).reshape(3, -1).astype(theta.dtype)
    grid = F.matmul(F.reshape(theta, (-1, 3)), points)
    return F.reshape(grid, (len(theta), 2, h, w))


def _check_sampler(in_types):
    x, grid = in_types
    type_check.expect(
        x.dtype.kind == "f",
        grid.dtype == x.dtype,
        x.ndim == 4,
        grid.ndim == 4,
        grid.shape[1] == 2,
        x.shape[0] == grid.shape[0],
    )


def spatial_transformer_sampler(x, grid):
    """Return images at the points of a grid, between pixels interpolated.

    ``grid`` is what :func:`spatial_transformer_grid` returns; outside, from -1 to 1,
    there are zeros.
    """
    check_inputs("SpatialTransformerSampler", _check_sampler, x, grid)
    F = functions()
    x, grid = as_variable(x), as_variable(grid)
    xp, (height, width) = x.xp, x.shape[2:]
    x = F.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)), "constant")
    neighbours = []
    for coordinate, size in ((1, height), (0, width)):
        place = (grid[:, coordinate] + 1) * ((size - 1) / 2) + 1
        place = F.clip(place, 0.0, size + 1.0)
        before = xp.floor(place.array).clip(0, size)
        weight = place - before
        before = before.astype(np.intp)
        neighbours.append(((before, 1 - weight), (before + 1, weight)))
    image = xp.arange(len(x))[:, None, None]
    y = None
    for (row, row_weight), (column, column_weight) in itertools.product(*neighbours):
        pixels = x[image, :, row, column]  # (B, height, width, C)
        weight = F.expand_dims(row_weight * column_weight, 3)
        part = F.broadcast_to(weight, pixels.shape) * pixels
        y = part if y is None else y + part
    return F.transpose(y, (0, 3, 1, 2))


class Depth2Space(Arrangement):
    """Channels turned into pixels."""

    def __init__(self, r):
        self.r = r

    def check_type_forward(self, in_types):
        check_image(in_types)

    def compute(self, xp, x):
        n, c, h, w = x.shape
        r = self.r
        y = x.reshape(n, r, r, c // r**2, h, w).transpose(0, 3, 4, 1, 5, 2)
        return y.reshape(n, c // r**2, h * r, w * r)

    def rule(self, gy):
        return space2depth(gy, self.r)


class Space2Depth(Depth2Space):
    """Pixels turned into channels."""

    def compute(self, xp, x):
        n, c, h, w = x.shape
        r = self.r
        y = x.reshape(n, c, h // r, r, w // r, r).transpose(0, 3, 5, 1, 2, 4)
        return y.reshape(n, r**2 * c, h // r, w // r)

    def rule(self, gy):
        return depth2space(gy, self.r)


def depth2space(X, r):
    """Turn channels into pixels."""
    return Depth2Space(r).apply((X,))[0]


def space2depth(X, r):
    """Turn pixels into channels."""
    return Space2Depth(r).apply((X,))[0]
