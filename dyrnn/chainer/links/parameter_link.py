"""The link called ``Parameter``, in a file without the class of that name."""

from dyrnn.chainer import initializers, variable
from dyrnn.chainer.functions import elementwise
from dyrnn.chainer.link import Link


class Parameter(Link):
    """A parameter that is returned; the array is its value, and is not copied."""

    def __init__(self, array):
        super().__init__()
        initializer = initializers.Constant(array, dtype=array.dtype)
        with self.init_scope():
            self.W = variable.Parameter(initializer, array.shape)
        self.W.array = array

    def forward(self, volatile=None):
        """Return the parameter; ``volatile`` is version 1's and without effect."""
        return elementwise.identity(self.W)
