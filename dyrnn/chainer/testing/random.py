"""The same random numbers at every run of a test."""

import functools
import random
import types

import numpy as np

from dyrnn.chainer.configuration import environment
from dyrnn.chainer.testing import _bundle

_states: list[tuple] = []
_depth = 0


def do_setup(deterministic=True):
    """Seed the global generators, with 100 or with what the system has."""
    _states.append((random.getstate(), np.random.get_state()))
    np.random.seed(100 if deterministic else None)


def do_teardown():
    """Put the global generators back where they were."""
    python_state, numpy_state = _states.pop()
    random.setstate(python_state)
    np.random.set_state(numpy_state)


def _setup_random():
    """Seed the global generators; the outermost of nested calls does it."""
    global _depth
    if _depth == 0:
        nondeterministic = environment("CHAINER_TEST_RANDOM_NONDETERMINISTIC", "0")
        do_setup(not int(nondeterministic))
    _depth += 1


def _teardown_random():
    global _depth
    assert _depth > 0, "_setup_random has not been called"
    _depth -= 1
    if _depth == 0:
        do_teardown()


def generate_seed():
    """Return a seed, inside a test that :func:`fix_random` decorates."""
    assert _depth > 0, "random is not set up"
    return np.random.randint(0xFFFFFFFF)


def _fixed(test):
    @functools.wraps(test)
    def wrapper(self, *args, **kwargs):
        _setup_random()
        try:
            test(self, *args, **kwargs)
        finally:
            _teardown_random()

    return wrapper


def fix_random(*, setup_method="setUp", teardown_method="tearDown"):
    """Decorate a test method or class: fixed random numbers, also in its setup."""

    def decorator(impl):
        if isinstance(impl, types.FunctionType) and impl.__name__.startswith("test_"):
            return _fixed(impl)
        if isinstance(impl, _bundle._ParameterizedTestCaseBundle):
            bundle = impl
        else:
            case = _bundle._TestCaseTuple(impl, None, None)
            bundle = _bundle._ParameterizedTestCaseBundle([case])
        for cls, _, _ in bundle.cases:
            _wrap(cls, setup_method, teardown_method)
        return bundle

    return decorator


def _wrap(cls, setup_method, teardown_method):
    set_up, tear_down = getattr(cls, setup_method), getattr(cls, teardown_method)

    @functools.wraps(set_up)
    def new_setup(self):
        _setup_random()
        set_up(self)

    @functools.wraps(tear_down)
    def new_teardown(self):
        try:
            tear_down(self)
        finally:
            _teardown_random()

    setattr(cls, setup_method, new_setup)
    setattr(cls, teardown_method, new_teardown)
