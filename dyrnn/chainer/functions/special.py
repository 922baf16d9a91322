"""Error functions, gamma functions and their kin, from SciPy or CuPy.

SciPy is imported when the first of them runs. Without it, those that Python's ``math``
has are computed number by number.
"""

import functools
import importlib
import math
import warnings

import numpy as np

from dyrnn.chainer import _backend
from dyrnn.chainer.functions.nodes import Formula, OfOutput, functions
from dyrnn.chainer.utils import type_check
from dyrnn.chainer.warnings import PerformanceWarning

_SQRT_PI, _SQRT_2PI = math.sqrt(math.pi), math.sqrt(2 * math.pi)
_OF_NUMBERS = {
    "erf": math.erf,
    "erfc": math.erfc,
    "ndtr": lambda x: 0.5 * math.erfc(-x / math.sqrt(2)),
}


@functools.cache
def _special(xp, scipy_name, name):
    """Return the function of arrays."""
    package = "scipy" if xp is np else "cupyx.scipy"
    try:
        return getattr(importlib.import_module(f"{package}.special"), scipy_name)
    except ImportError as error:
        if xp is not np or name not in _OF_NUMBERS:
            raise ImportError(
                f"{name} needs SciPy, which cannot be imported: {error}. "
                "`pip install scipy` installs it."
            ) from error
    warnings.warn(
        f"SciPy cannot be imported: {name} is computed number by number, slowly.",
        PerformanceWarning,
        stacklevel=2,
    )
    return np.vectorize(_OF_NUMBERS[name], otypes=[float])


class _Special(Formula):
    """A function of SciPy: ``scipy_name`` there, ``label`` here."""

    scipy_name = ""
    label = ""

    def compute(self, xp, *xs):
        return _special(xp, self.scipy_name, self.label)(*xs)


class Erf(_Special):
    """The error function."""

    scipy_name = label = "erf"

    def rule(self, gy, x):
        return 2 / _SQRT_PI * functions().exp(-(x**2)) * gy


class Erfc(_Special):
    """``1 - erf(x)``."""

    scipy_name = label = "erfc"

    def rule(self, gy, x):
        return -2 / _SQRT_PI * functions().exp(-(x**2)) * gy


class Erfcx(_Special):
    """``exp(x ** 2) * erfc(x)``."""

    scipy_name = label = "erfcx"

    def rule(self, gy, x):
        return 2 * (x * erfcx(x) - 1 / _SQRT_PI) * gy


class ErfInv(_Special, OfOutput):
    """Inverse of ``erf``."""

    scipy_name = label = "erfinv"

    def rule(self, gy, y):
        return _SQRT_PI / 2 * functions().exp(y**2) * gy


class ErfcInv(_Special, OfOutput):
    """Inverse of ``erfc``."""

    scipy_name = label = "erfcinv"

    def rule(self, gy, y):
        return -_SQRT_PI / 2 * functions().exp(y**2) * gy


class Ndtr(_Special):
    """Distribution function of the standard normal distribution."""

    scipy_name = label = "ndtr"

    def rule(self, gy, x):
        return 1 / _SQRT_2PI * functions().exp(-0.5 * x**2) * gy


class Ndtri(_Special, OfOutput):
    """Inverse of ``ndtr``."""

    scipy_name = label = "ndtri"

    def rule(self, gy, y):
        return _SQRT_2PI * functions().exp(0.5 * y**2) * gy


class LogNdtr(_Special):
    """Logarithm of ``ndtr``."""

    scipy_name = label = "log_ndtr"

    def rule(self, gy, x):
        return math.sqrt(2 / math.pi) / erfcx(-x / math.sqrt(2)) * gy


class LGamma(_Special):
    """Logarithm of the gamma function."""

    scipy_name, label = "gammaln", "lgamma"

    def rule(self, gy, x):
        return digamma(x) * gy


class DiGamma(_Special):
    """Derivative of ``lgamma``."""

    scipy_name = label = "digamma"

    def rule(self, gy, x):
        return polygamma(x.xp.array(1), x) * gy


class PolyGamma(_Special):
    """Derivative ``n`` of ``digamma``."""

    scipy_name = label = "polygamma"

    def check_type_forward(self, in_types):
        type_check._argname(in_types, ("n", "x"))
        n, x = in_types
        type_check.expect(n.dtype.kind == "i", x.dtype.kind == "f")

    def output_type(self, *xs):
        return xs[1].dtype

    def rule(self, gy, n, x):
        return None, polygamma(n + 1, x) * gy


class Zeta(_Special):
    """Hurwitz's zeta function of ``q``, for exponents ``x``."""

    scipy_name = label = "zeta"
    names = ("q",)

    def __init__(self, x):
        self._x = _backend.raw(x)

    def compute(self, xp, *xs):
        return super().compute(xp, self._x, *xs)

    def rule(self, gy, q):
        return gy * -self._x * zeta(self._x + 1, q)


def _function(node):
    def function(x):
        return node().apply((x,))[0]

    function.__name__ = function.__qualname__ = node.label
    function.__doc__ = node.__doc__
    return function


erf, erfc, erfcx, erfinv, erfcinv = map(_function, (Erf, Erfc, Erfcx, ErfInv, ErfcInv))
ndtr, ndtri, log_ndtr = map(_function, (Ndtr, Ndtri, LogNdtr))
lgamma, digamma = map(_function, (LGamma, DiGamma))


def polygamma(n, x):
    """Derivative ``n`` of ``digamma``."""
    return PolyGamma().apply((n, x))[0]


def zeta(x, q):
    """Hurwitz's zeta function, differentiable in ``q``."""
    return Zeta(x).apply((q,))[0]
