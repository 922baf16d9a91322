"""``.npz`` files in Chainer's layout: one array for each path of keys.

Chainer stores None as an array of objects, so reading needs ``allow_pickle``: open
only files of a source that you trust, or convert them once with
:mod:`dyrnn.chainer.convert`.
"""

import os

import numpy as np

from dyrnn.chainer.backends import cuda
from dyrnn.chainer.backends._cpu import _to_cpu
from dyrnn.chainer.serializer import Deserializer, Serializer


class DictionarySerializer(Serializer):
    """Saves to ``target``, a dictionary from paths to NumPy arrays."""

    def __init__(self, target=None, path=""):
        self.target = {} if target is None else target
        self.path = path

    def __getitem__(self, key):
        return DictionarySerializer(self.target, f"{self.path}{key.strip('/')}/")

    def __call__(self, key, value):
        array = np.asarray(None) if value is None else _to_cpu(value)
        self.target[self.path + key.lstrip("/")] = array
        return value


def serialize(obj):
    """Return the dictionary of an object's arrays."""
    serializer = DictionarySerializer()
    serializer.save(obj)
    return serializer.target


def save_npz(file, obj, compression=True):
    """Save an object, or a dictionary of arrays, to a file or under a path."""
    if isinstance(file, (str, os.PathLike)):
        with open(file, "wb") as opened:
            save_npz(opened, obj, compression)
        return
    target = obj if isinstance(obj, dict) else serialize(obj)
    if compression:
        np.savez_compressed(file, **target)
    else:
        np.savez(file, **target)


class NpzDeserializer(Deserializer):
    """Loads from a dictionary of arrays, such as ``numpy.load`` gives.

    Parameters
    ----------
    strict : bool
        Whether a missing key is an error; else the value stays as it is.
    ignore_names : None, str, callable, or list of these
        Paths that are left alone.
    """

    def __init__(self, npz, path="", strict=True, ignore_names=None):
        self.npz = npz
        self.path = path
        self.strict = strict
        self.ignore_names = [] if ignore_names is None else ignore_names

    def __getitem__(self, key):
        path = f"{self.path}{key.strip('/')}/"
        return NpzDeserializer(self.npz, path, self.strict, self.ignore_names)

    def __call__(self, key, value):
        key = self.path + key.lstrip("/")
        if not self.strict and key not in self.npz:
            return value
        if self._ignores(key):
            return value
        stored = self.npz[key]
        if stored[()] is None:
            return None
        if value is None:
            return stored
        if isinstance(value, np.ndarray):
            np.copyto(value, stored)
        elif isinstance(value, cuda.ndarray):
            value.set(np.asarray(stored, dtype=value.dtype))
        else:
            value = _as_type(type(value), np.asarray(stored))
        return value

    def _ignores(self, key):
        names = self.ignore_names
        if not isinstance(names, (tuple, list)):
            names = (names,)
        for name in names:
            if not isinstance(name, str) and not callable(name):
                raise ValueError(
                    "ignore_names needs to be a callable, string or list of them."
                )
            if name == key if isinstance(name, str) else name(key):
                return True
        return False


def _as_type(kind, stored):
    """Return a stored scalar as a Python one, if none of its digits are lost."""
    if issubclass(stored.dtype.type, np.number):
        is_integer = issubclass(stored.dtype.type, np.integer) and kind is int
        if not is_integer and not np.can_cast(stored.dtype, kind, casting="safe"):
            raise TypeError(
                f"Cannot safely deserialize from numpy array with dtype={stored.dtype} "
                f"into a variable of type {kind}."
            )
    return kind(stored)


def load_npz(file, obj, path="", strict=True, ignore_names=None):
    """Load an object from what :func:`save_npz`, or Chainer's, has written.

    ``path`` is where in the file the object is: ``"updater/model:main/predictor/"``
    finds a model in a snapshot.
    """
    with np.load(file, allow_pickle=True) as npz:
        NpzDeserializer(npz, path, strict, ignore_names).load(obj)
