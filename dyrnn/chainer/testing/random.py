"""The same random numbers at every run of a test."""

import functools
import random
import types

import numpy as np

from dyrnn.chainer.configuration import environment
from dyrnn.chainer.testing import _bundle

_states: list[tuple] = []


def _setup_random():
    """Seed the global generators; the outermost of nested calls does it."""
    if not _states:
        nondeterministic = environment("CHAINER_TEST_RANDOM_NONDETERMINISTIC", "0")
        _states.append((random.getstate(), np.random.get_state()))
        np.random.seed(None if int(nondeterministic) else 100)
    else:
        _states.append(())


def _teardown_random():
    assert _states, "_setup_random has not been called"
    state = _states.pop()
    if state:
        random.setstate(state[0])
        np.random.set_state(state[1])


def generate_seed():
    """Return a seed, inside a test that :func:`fix_random` decorates."""
    assert _states, "random is not set up"
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
