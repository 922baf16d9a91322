"""A function that keeps nothing: it runs again when its gradient is asked for."""

from dyrnn.chainer._backprop import backward
from dyrnn.chainer.configuration import (
    config,
    force_backprop_mode,
    no_backprop_mode,
    using_config,
)
from dyrnn.chainer.function_node import FunctionNode
from dyrnn.chainer.variable import Variable, as_variable


class Forget(FunctionNode):
    """A function computed again in backward instead of kept."""

    def __init__(self, func):
        if not callable(func):
            raise TypeError("func must be callable")
        self.func = func

    def forward(self, inputs):
        self.retain_inputs(tuple(range(len(inputs))))
        with no_backprop_mode(), using_config("_will_recompute", True):
            ys = self._call([as_variable(x) for x in inputs])
        return tuple([y.array for y in ys])

    def backward(self, indexes, gys):
        if config.enable_backprop:
            raise RuntimeError(
                "double backpropagation in functions.forget is not allowed."
            )
        xs = [
            Variable(x.array, requires_grad=x.requires_grad)
            for x in self.get_retained_inputs()
        ]
        with force_backprop_mode(), using_config("in_recomputing", True):
            ys = self._call(xs)
        pairs = [(y, gy) for y, gy in zip(ys, gys, strict=True) if gy is not None]
        backward([y for y, _ in pairs], [gy for _, gy in pairs])
        return tuple([x.grad_var for x in xs])

    def _call(self, xs):
        """Return the function's results as a tuple of variables."""
        ys = self.func(*xs)
        if isinstance(ys, Variable):
            return (ys,)
        if not isinstance(ys, tuple):
            raise RuntimeError(
                "A tuple of Variables or a Variable are expected, but "
                f"{type(ys)} is returned."
            )
        for n, y in enumerate(ys, 1):
            if not isinstance(y, Variable):
                raise RuntimeError(
                    f"{_ordinal(n)} element of a returned tuple is not Variable, "
                    f"but is {type(y)}"
                )
        return ys


def _ordinal(n):
    teens = 10 < n % 100 < 20
    return f"{n}{'th' if teens else {1: 'st', 2: 'nd', 3: 'rd'}.get(n % 10, 'th')}"


def forget(func, *xs):
    """Compute ``func(*xs)`` keeping nothing; it runs again in backward.

    ``config.in_recomputing`` is true while it runs again, so that a function which
    counts its calls need not count this one.
    """
    ys = Forget(func).apply(tuple([as_variable(x) for x in xs]))
    return ys[0] if len(ys) == 1 else ys
