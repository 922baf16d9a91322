"""A property computed once, with and without a graph."""

import functools

from dyrnn.chainer.configuration import config


class cached_property:
    """Property that remembers its value, for each ``config.enable_backprop``."""

    def __init__(self, func):
        functools.update_wrapper(self, func)
        self.func = func

    def __get__(self, obj, cls):
        if obj is None:
            return self
        values = vars(obj).setdefault(self.__name__, {})
        key = bool(config.enable_backprop)
        if key not in values:
            values[key] = self.func(obj)
        return values[key]

    def __set__(self, obj, value):
        raise AttributeError(f"attribute '{self.__name__}' of {obj} is readonly")
