"""``chainer.FunctionSet``: how version 1 grouped links."""

from dyrnn.chainer.link import Chain


class FunctionSet(Chain):
    """A :class:`Chain` whose links are keywords or plain assignments.

    ``optimizer.setup(model.collect_parameters())`` works as ``setup(model)`` does.
    """

    def __setattr__(self, name, value):
        with_link = hasattr(value, "namedparams") and "_children" in vars(self)
        if with_link and not self.within_init_scope:
            if name in self._children:
                delattr(self, name)
            with self.init_scope():
                super().__setattr__(name, value)
        else:
            super().__setattr__(name, value)

    def collect_parameters(self):
        """Return the set itself, which optimizers take."""
        return self

    def copy_parameters_from(self, params):
        """Take over arrays, in the order of ``parameters``."""
        for own, value in zip(self.params(), params, strict=True):
            own.data[...] = own.device.send(value)

    @property
    def parameters(self):
        """The parameters' arrays, sorted by path."""
        return tuple(p.data for p in self.params())

    @parameters.setter
    def parameters(self, arrays):
        for parameter, array in zip(self.params(), arrays, strict=True):
            parameter.data = array

    @property
    def gradients(self):
        """The gradients' arrays, sorted by path."""
        return tuple(p.grad for p in self.params())

    @gradients.setter
    def gradients(self, arrays):
        for parameter, array in zip(self.params(), arrays, strict=True):
            parameter.grad = array
