"""Keyword arguments by hand, with messages for those of older versions."""

import inspect


def check_unexpected_kwargs(kwargs, **unexpected):
    """Raise ValueError with the message for a keyword that is no more."""
    for key, message in unexpected.items():
        if key in kwargs:
            raise ValueError(message)


def parse_kwargs(kwargs, *name_and_values, **unexpected):
    """Return the values of the named keywords; raise TypeError for any other."""
    values = tuple([kwargs.pop(name, default) for name, default in name_and_values])
    if kwargs:
        check_unexpected_kwargs(kwargs, **unexpected)
        caller = inspect.stack()[1].function
        names = ", ".join(map(repr, sorted(kwargs)))
        raise TypeError(f"{caller}() got unexpected keyword argument(s) {names}")
    return values


def assert_kwargs_empty(kwargs):
    """Raise TypeError if any keyword is left."""
    parse_kwargs(kwargs)


def refuse_kwargs(kwargs, **unexpected):
    """Raise ValueError with the message for a keyword, TypeError for any other one."""
    if kwargs:
        check_unexpected_kwargs(kwargs, **unexpected)
        assert_kwargs_empty(kwargs)


def moved_to_config(name):
    """Return the message for an argument that ``chainer.config`` has taken over."""
    return f"{name} argument is not supported anymore. Use chainer.using_config"
