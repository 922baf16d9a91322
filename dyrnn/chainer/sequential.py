"""``chainer.Sequential``: links and other callables, one after the other."""

import copy
import inspect

from dyrnn.chainer.link import ChainList, Link, _sequential


def _is_lambda(layer):
    return getattr(layer, "__name__", None) == "<lambda>"


def _type_name(layer):
    return type(layer).__name__ if isinstance(layer, Link) else layer.__name__


class Sequential(ChainList):
    """Calls its layers in turn, each with what the one before returned."""

    def __init__(self, *layers):
        super().__init__()
        self._layers = []
        for layer in layers:
            self.append(layer)

    def forward(self, *x):
        """Call the layers; a tuple becomes several arguments."""
        if not self._layers:
            raise RuntimeError("Sequential does not have any layer.")
        for layer in self._layers:
            x = layer(*x) if isinstance(x, tuple) else layer(x)
        return x

    def __str__(self):
        texts = [
            inspect.getsource(layer).strip().rstrip(",")
            if _is_lambda(layer)
            else str(layer)
            for layer in self
        ]
        return self._tree_text(enumerate(texts))

    def __reduce__(self):
        if any(_is_lambda(layer) for layer in self._layers):
            raise ValueError(
                "This Sequential object has at least one lambda function as its "
                "component. Lambda function can not be pickled, so please consider to "
                'use functools.partial instead of the lambda function or use "dill", '
                "which is an external package that enables pickling an object "
                "including lambda functions instead of built-in pickle."
            )
        return super().__reduce__()

    # A list

    def __len__(self):
        return len(self._layers)

    def __getitem__(self, i):
        return self._layers[i]

    def __iter__(self):
        return iter(self._layers)

    def __setitem__(self, i, layer):
        if i >= len(self):
            raise ValueError(f"{i} should be less than {len(self)}")
        if not callable(layer):
            raise ValueError(
                "All elements of a Sequential class should be callable. But given "
                f"{layer} is not callable."
            )
        i = range(len(self))[i]
        if self._layers[i] is not layer:
            del self[i]
            self.insert(i, layer)

    def __delitem__(self, i):
        layer = self._layers.pop(i)
        if isinstance(layer, Link):
            same = [child is layer for child in self._children]
            del self._children[same.index(True)]
            self._number()

    def insert(self, i, layer):
        n = len(self)
        if not -n <= i <= n:
            raise IndexError(f"Index out of range: {i}")
        if not callable(layer):
            raise ValueError(
                "All elements of the argument should be callable. But given "
                f"{layer} is not callable."
            )
        i = i + n if i < 0 else i
        if isinstance(layer, Link):
            self._children.insert(self._child_index(i), layer)
            self._number()
        self._layers.insert(i, layer)

    def _child_index(self, i):
        """Return where a link that becomes layer ``i`` goes among the children.

        Not always in the order of the layers: a link goes behind the first one. The
        numbers are the keys of saved files, which have to be Chainer's.
        """
        links = [j for j in range(i) if isinstance(self._layers[j], Link)]
        return links[0] + 1 if links else min(i, 1)

    def _check_other(self, other):
        if not isinstance(other, Sequential):
            raise ValueError(
                "add (+) operator supports only objects of Sequential class, but "
                f"{type(other)} is given."
            )

    def __add__(self, other):
        self._check_other(other)
        return Sequential(*self, *other)

    def __iadd__(self, other):
        self._check_other(other)
        self.extend(other)
        return self

    def remove(self, layer):
        """Take a layer out."""
        if layer not in self:
            raise ValueError(f"There is no layer object that is same as {layer}")
        del self[self.index(layer)]

    def remove_by_layer_type(self, type_name):
        """Take out all layers whose class or function has this name."""
        for layer in list(self):
            if _type_name(layer) == type_name:
                self.remove(layer)

    def index(self, layer, start=None, end=None):
        """Return a layer's position."""
        return self._layers[start:end].index(layer)

    def count_by_layer_type(self, type_name):
        """Return how many layers' classes or functions have this name."""
        return sum(_type_name(layer) == type_name for layer in self._layers)

    def copy(self, mode="share"):
        new = Sequential()
        for layer in self:
            is_link = isinstance(layer, Link)
            new.append(layer.copy(mode) if is_link else copy.copy(layer))
        return new

    def copyparams(self, link, copy_persistent=True):
        if not isinstance(link, Sequential):
            raise ValueError(
                "Objects other than Sequential object cannot be copied to a "
                "Sequential object."
            )
        for i, child in enumerate(self):
            if isinstance(child, Link):
                child.copyparams(link[i], copy_persistent)

    def flatten(self):
        """Return a Sequential without others inside."""
        new = Sequential()
        for layer in self:
            if isinstance(layer, Sequential):
                new.extend(layer.flatten())
            else:
                new.append(layer)
        return new


_sequential.append(Sequential)
