"""Functions that add randomness while training and none in evaluation.

Every draw comes from a named stream of :mod:`dyrnn.random`, on the CPU, so a run draws
the same numbers on every device and goes on with them after a resume.
"""

from dyrnn import kernels, random
from dyrnn.config import config
from dyrnn.core import FunctionNode, as_variable
from dyrnn.functions.checks import check_floats


def _check_ratio(name, ratio):
    if not 0 <= ratio < 1:
        raise ValueError(
            f"{name}: ratio={ratio}, but the share that is dropped must be at least 0 "
            "and less than 1."
        )


def _draw(xp, stream, shape, ratio):
    """Return an array of booleans, each False with probability ``ratio``."""
    kept = random.stream(stream).generator.random(shape, dtype="float32") >= ratio
    return xp.asarray(kept)


class Dropout(FunctionNode):
    """A product with a random mask, which is drawn here."""

    def __init__(self, ratio):
        self.ratio = ratio

    def forward(self, xp, x):
        generator = random.stream("dropout").generator
        mask = kernels.dropout_mask(generator, x.shape, self.ratio, x.dtype)
        self.mask = xp.asarray(mask)
        return x * self.mask

    def backward(self, xp, gy):
        return gy * self.mask


def dropout(x, ratio=0.5):
    """Set a random share ``ratio`` to 0 and scale the others by ``1 / (1 - ratio)``.

    In evaluation (``config.train`` False) and with ratio 0 the input itself comes back
    and nothing is drawn.

    Raises
    ------
    ValueError
        If ``ratio`` is not within 0 <= ratio < 1.

    References
    ----------
    Srivastava et al., "Dropout: A Simple Way to Prevent Neural Networks from
    Overfitting", JMLR 15, 2014.
    """
    _check_ratio("dropout", ratio)
    if ratio == 0 or not config.train:
        return as_variable(x)
    check_floats("dropout", x=x)
    return Dropout(ratio).apply(x)
