"""Softmax cross entropy over rows of logits, and the output layer joined to it."""

from dyrnn.backend import get_array_module
from dyrnn.kernels.dispatch import kernel
from dyrnn.kernels.labels import mean_factor, outside
from dyrnn.kernels.products import linear, matmul


@kernel("logits")
def softmax_cross_entropy(logits, t, ignore_label=-1, out=None):
    """Cross entropy of each row's softmax with its label, and what its gradient needs.

    Logits are taken relative to the largest of their row, so that exp does not
    overflow.

    Parameters
    ----------
    logits : (N, V), rows contiguous
    t : (N,) int
        Labels in 0..V-1, or ``ignore_label`` for rows with loss and gradient 0. On a
        device, any other makes the row's loss and inverse NaN.
    out : (N, V), optional
        Where to put e; may be ``logits`` if nobody needs them any more.

    Returns
    -------
    loss : (N,)
    e : (N, V)
        exp(logits), up to a factor per row, less the row's sum at its label; finite in
        ignored rows, whatever their logits are.
    inverse : (N,)
        1 / the row's sum, 0 for ignored rows. With the gradient gy (N,) of the losses,
        the gradient of the logits is ``(inverse * gy)[:, None] * e``.
    """
    xp = get_array_module(logits)
    counted = t != ignore_label
    is_bad = outside(xp, t, logits.shape[1])
    rows, label = xp.arange(len(logits)), xp.where(counted, t, 0)
    if is_bad is not None:
        is_bad &= counted
        label = xp.where(is_bad, 0, label)
    largest = logits.max(axis=1)[:, None]
    target = logits[rows, label] - largest[:, 0]
    e = xp.subtract(logits, largest, out=out)
    xp.exp(e, out=e)
    total = e.sum(axis=1)
    if is_bad is not None:
        total = xp.where(is_bad, xp.nan, total)
    loss = xp.where(counted, xp.log(total) - target, 0)
    # The gradient at the label is softmax - 1, that is (e - total) / total.
    e[rows, label] -= total
    xp.copyto(e, 0, where=~counted[:, None])
    return loss, e, xp.where(counted, 1 / total, 0)


@kernel("loss")
def mean_loss(loss, inverse, t, ignore_label=-1, divisor=None):
    """Add losses up over a divisor, by default the number of labels that count.

    Parameters
    ----------
    loss, inverse : (N,)
        As :func:`softmax_cross_entropy` returns them.
    t : (N,) int

    Returns
    -------
    mean : ()
    scale : (N,)
        ``inverse`` over the divisor: what the gradient of the mean is scaled by.
    """
    xp, dtype = get_array_module(loss), loss.dtype
    counts = t != ignore_label
    weight = counts.astype(dtype)
    weight *= mean_factor(counts, divisor, dtype)
    return xp.where(counts, loss * weight, 0).sum(), weight * inverse


@kernel("x")
def linear_softmax_cross_entropy(x, W, b, t, ignore_label=-1):
    """Cross entropy of ``softmax(x W^T + b)``; faster forms never hold it whole.

    Parameters
    ----------
    x : (N, I)
    W : (V, I)
    b : (V,) or None
    t : (N,) int
        Labels in 0..V-1, or ``ignore_label`` for rows with loss and gradient 0.

    Returns
    -------
    loss : (N,)
    shift, total : (N,)
        The largest logit of each row, and the sum of exp(logits - shift), for the
        backward kernel. Their logarithmic sum would lose what large logits differ by.
    """
    xp = get_array_module(x)
    logits = linear(x, W, b)
    shift = logits.max(axis=1)
    total = xp.exp(logits - shift[:, None]).sum(axis=1)
    counted = t != ignore_label
    target = logits[xp.arange(len(x)), xp.where(counted, t, 0)]
    return xp.where(counted, xp.log(total) + (shift - target), 0), shift, total


@kernel("x")
def linear_softmax_cross_entropy_backward(
    gy, x, W, b, t, shift, total, ignore_label=-1
):
    """Gradients of :func:`linear_softmax_cross_entropy`; the product is done again.

    The gradient of the logits is gy * (softmax, less 1 at the label), and 0 in ignored
    rows, whatever they hold.

    Parameters
    ----------
    gy : (N,)
        Gradient of the losses. The other arguments are as in the forward kernel.

    Returns
    -------
    gx : (N, I)
    gW : (V, I)
    gb : (V,)
    """
    xp = get_array_module(x)
    counted = t != ignore_label
    x = xp.where(counted[:, None], x, 0)
    shift, total = xp.where(counted, shift, 0), xp.where(counted, total, 1)
    e = xp.exp(linear(x, W, b) - shift[:, None])
    e[xp.arange(len(x)), xp.where(counted, t, 0)] -= total
    e *= xp.where(counted, gy / total, 0)[:, None]
    return matmul(e, W), matmul(e.T, x), e.sum(axis=0)
