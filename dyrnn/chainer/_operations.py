"""The functions that variables need: they are made of variables, one floor up."""

from typing import Any

functions: Any = None


def use_functions(module):
    """Let the engine add, reshape and transpose with ``module``'s functions."""
    global functions
    functions = module


def current_functions():
    """Return the module given to :func:`use_functions`."""
    return functions
