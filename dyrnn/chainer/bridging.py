"""Functions of dyrnn as functions of Chainer's engine, derivatives of all orders.

:class:`Bridge` runs a function of dyrnn on leaves made of its inputs and keeps dyrnn's
little graph. Its ``backward`` is dyrnn's, on arrays; where a gradient of the gradient
may be asked for, it is another bridge, over the function (inputs, gradients of
outputs) -> (gradients of inputs), and so on.
"""

from dyrnn.chainer import configuration
from dyrnn.chainer.function_node import FunctionNode
from dyrnn.chainer.variable import Variable
from dyrnn.config import config, using_config
from dyrnn.engine import core, higher_order


class Bridge(FunctionNode):
    """A function of dyrnn, applied.

    Parameters
    ----------
    function : callable
        From dyrnn's variables to one or a tuple of them.
    name : str
        Label in texts, drawings and error messages.
    check : callable, optional
        ``check_type_forward``: it takes the inputs' types.
    """

    _xs: tuple = ()
    _ys: tuple = ()

    def __init__(self, function, name=None, check=None):
        self._function = function
        self._name = name or getattr(function, "__name__", "Bridge")
        self._check = check

    @property
    def label(self):
        return self._name

    def check_type_forward(self, in_types):
        if self._check is not None:
            self._check(in_types)

    def forward(self, inputs):
        self._xs = tuple(
            [core.Variable(x, requires_grad=x.dtype.kind == "f") for x in inputs]
        )
        train = bool(configuration.config.train)
        graph = bool(configuration.config.enable_backprop)
        if config.train is train and config.enable_backprop is graph:
            ys = self._function(*self._xs)
        else:
            with using_config("train", train), using_config("enable_backprop", graph):
                ys = self._function(*self._xs)
        self._ys = ys if isinstance(ys, tuple) else (ys,)
        if graph:
            self.retain_inputs(tuple(range(len(inputs))))
        return tuple([y.array for y in self._ys])

    def backward(self, indexes, gys):
        if configuration.config.enable_backprop:
            xs = self.get_retained_inputs()
            return gradients_of(self._function, self._name, xs, indexes, gys)
        gys = [None if gy is None else gy.array for gy in gys]
        found = self.backward_arrays(indexes, gys)
        return tuple([None if gx is None else Variable(gx) for gx in found])

    def backward_arrays(self, indexes, gys):
        """Run the gradient on arrays; see :meth:`worlds.CoreNode.backward_arrays`."""
        used = [i for i, gy in enumerate(gys) if gy is not None]
        found = higher_order.grad(
            [self._ys[i] for i in used],
            [self._xs[i] for i in indexes],
            [gys[i] for i in used],
        )
        return [None if gx is None else gx.array for gx in found]

    def unchain(self):
        self._xs = self._ys = ()
        super().unchain()


def gradients_of(function, name, xs, indexes, gys):
    """Return the gradients of a function of dyrnn as variables of Chainer's graph.

    Parameters
    ----------
    function : callable
        From dyrnn's variables to one or a tuple of them.
    name : str
    xs : sequence of Variable
    indexes : sequence of int
        Inputs that need a gradient.
    gys : sequence of Variable or None
        Gradients of the outputs.
    """
    used = [i for i, gy in enumerate(gys) if gy is not None]
    reached: list[int] = []
    n = len(xs)

    def gradient(*args):
        ys = function(*args[:n])
        ys = ys if isinstance(ys, tuple) else (ys,)
        found = higher_order.grad(
            [ys[i] for i in used],
            [args[i] for i in indexes],
            list(args[n:]),
            create_graph=True,
        )
        reached[:] = [i for i, g in enumerate(found) if g is not None]
        return tuple([g for g in found if g is not None])

    found = Bridge(gradient, f"{name}Grad").apply((*xs, *[gys[i] for i in used]))
    result: list[Variable | None] = [None] * len(indexes)
    for i, g in zip(reached, found, strict=True):
        result[i] = g
    return tuple(result)


def bridge(function, *inputs, name=None, check=None):
    """Apply a function of dyrnn to Chainer's variables and arrays."""
    ys = Bridge(function, name, check).apply(inputs)
    return ys[0] if len(ys) == 1 else ys
