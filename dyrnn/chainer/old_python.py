"""What old scripts expect of Python and Python 3.8 to 3.11 no longer have.

Only ``python -m dyrnn.chainer`` brings it back, in its own process.
Python 2 is another language; its programs have to be translated.
"""

import collections
import collections.abc
import fractions
import functools
import inspect
import math
import random
import time

ArgSpec = collections.namedtuple("ArgSpec", "args varargs keywords defaults")


def revive():
    """Give the modules of Python the names back that went away."""
    for name in collections.abc.__all__:
        _put_back(collections, name, getattr(collections.abc, name))
    _put_back(time, "clock", time.process_time)
    _put_back(fractions, "gcd", math.gcd)
    _put_back(inspect, "getargspec", _getargspec)
    random.sample = _of_sets(random.sample)


def _put_back(module, name, value):
    if not hasattr(module, name):
        setattr(module, name, value)


def _getargspec(function):
    return ArgSpec(*inspect.getfullargspec(function)[:4])


def _of_sets(sample):
    """Return ``random.sample`` that draws from sets and from keys, too."""

    @functools.wraps(sample)
    def call(population, k, **options):
        if isinstance(population, collections.abc.Set):
            population = tuple(population)
        return sample(population, k, **options)

    return call
