"""Small things that tests of the engine share."""

from dyrnn import initializers
from dyrnn.engine.core import Variable
from dyrnn.engine.parameter import Parameter
from dyrnn.link import Chain, Link
from tests.arrays import xp


def variable(*values, **options):
    """Return a variable of float64 numbers, on the device of the test."""
    return Variable(xp.array(values, dtype=xp.float64), **options)


class Layer(Link):
    def __init__(self, size=2):
        super().__init__()
        with self.init_scope():
            self.W = Parameter(initializers.Normal(1.0))
            self.b = Parameter(0.0, (size,))
        self.size = size

    def forward(self, x):
        if not self.W.is_initialized:
            self.W.initialize((self.size, x.shape[-1]))
        return x @ self.W.T + self.b


class Counter(Layer):
    carried = ("total",)

    def __init__(self, size=2):
        super().__init__(size)
        self.total = None

    def forward(self, x):
        self.total = x if self.total is None else self.total + x
        return super().forward(self.total)


class Model(Chain):
    def __init__(self):
        super().__init__()
        with self.init_scope():
            self.second = Counter()
            self.first = Layer(3)
            self.scale = Parameter(1.0, (1,))

    def forward(self, x):
        return self.second(self.first(x)) * self.scale
