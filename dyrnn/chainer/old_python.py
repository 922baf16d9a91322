"""What old scripts expect of Python and Python 3.8 to 3.12 no longer have.

Only ``python -m dyrnn.chainer`` brings it back, in its own process.
Python 2 is another language; its programs have to be translated.
"""

import collections
import collections.abc
import configparser
import fractions
import functools
import importlib.util
import inspect
import math
import random
import re
import sys
import time
import types

ArgSpec = collections.namedtuple("ArgSpec", "args varargs keywords defaults")


def revive():
    """Give the modules of Python the names back that went away."""
    for name in collections.abc.__all__:
        _put_back(collections, name, getattr(collections.abc, name))
    _put_back(time, "clock", time.process_time)
    _put_back(fractions, "gcd", math.gcd)
    _put_back(inspect, "getargspec", _getargspec)
    _put_back(configparser, "SafeConfigParser", configparser.ConfigParser)
    random.sample = _of_sets(random.sample)
    reload = importlib.reload
    _add("imp", reload=reload, load_source=_load_source, new_module=types.ModuleType)
    if _add("distutils", __path__=[]):
        _add("distutils.util", strtobool=_strtobool)
        versions = {"LooseVersion": LooseVersion, "StrictVersion": StrictVersion}
        _add("distutils.version", **versions)


def _put_back(module, name, value):
    if not hasattr(module, name):
        setattr(module, name, value)


def _add(name, **contents):
    """Add a module, unless there is one; return whether it was added."""
    if name in sys.modules or importlib.util.find_spec(name) is not None:
        return False
    module = sys.modules[name] = types.ModuleType(name)
    vars(module).update(contents)
    package, _, last = name.rpartition(".")
    if package:
        setattr(sys.modules[package], last, module)
    return True


def _load_source(name, path):
    spec = importlib.util.spec_from_file_location(name, path)
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _strtobool(text):
    for value, texts in enumerate(("n no f false off 0", "y yes t true on 1")):
        if text.lower() in texts.split():
            return value
    raise ValueError(f"invalid truth value {text!r}: use yes or no")


@functools.total_ordering
class LooseVersion:
    """A version as numbers and words, to be compared with others, or with texts."""

    def __init__(self, text):
        parts = re.findall(r"\d+|[a-z]+", text)
        self.vstring = text
        self.version = [int(part) if part.isdigit() else part for part in parts]

    def _key(self):
        return [(isinstance(part, int), part) for part in self.version]

    def __eq__(self, other):
        return self._key() == self._of(other)._key()

    def __lt__(self, other):
        return self._key() < self._of(other)._key()

    def _of(self, other):
        return type(self)(other) if isinstance(other, str) else other

    def __str__(self):
        return self.vstring

    def __repr__(self):
        return f"{type(self).__name__} ('{self}')"


class StrictVersion(LooseVersion):
    """Two or three numbers, perhaps with a1 or b2 behind, which comes before none."""

    def __init__(self, text):
        if not re.fullmatch(r"\d+\.\d+(\.\d+)?([ab]\d+)?", text):
            raise ValueError(f"invalid version number {text!r}")
        super().__init__(text)

    def _key(self):
        numbers, _, release = re.sub("([ab])", r" \1", self.vstring).partition(" ")
        numbers = [int(number) for number in numbers.split(".")]
        pre = (release[0], int(release[1:])) if release else ("final", 0)
        return [*numbers, 0][:3], pre


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
