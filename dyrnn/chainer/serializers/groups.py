"""HDF5 files: a group for each object. Needs h5py."""

import sys

import numpy as np

from dyrnn.chainer.backends import cuda
from dyrnn.chainer.backends._cpu import _to_cpu
from dyrnn.chainer.serializer import Deserializer, Serializer

try:
    import h5py

    _available = True
except ImportError:
    _available = False


def _check_available():
    if not _available:
        raise RuntimeError(
            "h5py is not installed on your environment.\n"
            "Please install h5py to activate hdf5 serializers.\n\n  $ pip install h5py"
        )


class HDF5Serializer(Serializer):
    """Saves to a group of an HDF5 file, with gzip of the level ``compression``."""

    def __init__(self, group, compression=4):
        _check_available()
        self.group = group
        self.compression = compression

    def __getitem__(self, key):
        name = f"{self.group.name}/{key}"
        return HDF5Serializer(self.group.require_group(name), self.compression)

    def __call__(self, key, value):
        array = h5py.Empty("f") if value is None else _to_cpu(value)
        level = None if value is None or array.size <= 1 else self.compression
        if value is not None and array.dtype.kind == "U":
            array = np.asarray(str(array), h5py.string_dtype())
        self.group.create_dataset(key, data=array, compression=level)
        return value


def save_hdf5(filename, obj, compression=4):
    """Save an object, or a dictionary of arrays, under a path."""
    _check_available()
    with h5py.File(filename, "w") as file:
        if not isinstance(obj, dict):
            HDF5Serializer(file, compression).save(obj)
            return
        for key, value in obj.items():
            array = np.asarray(value)
            level = None if array.size <= 1 else compression
            try:
                file.create_dataset(
                    f"/{key.lstrip('/')}", data=array, compression=level
                )
            except TypeError:
                sys.stderr.write(
                    f'A key named "{key}" is unable to save in HDF5 format.\n'
                )
                raise


class HDF5Deserializer(Deserializer):
    """Loads from a group of an HDF5 file; ``strict`` as in :class:`NpzDeserializer`."""

    def __init__(self, group, strict=True):
        _check_available()
        self.group = group
        self.strict = strict

    def __getitem__(self, key):
        try:
            group = self.group.require_group(f"{self.group.name}/{key}")
        except ValueError:  # a file that is only read gets no new group
            group = None
        return HDF5Deserializer(group, self.strict)

    def __call__(self, key, value):
        if self.group is None:
            if self.strict:
                raise ValueError("Inexistent group is specified")
            return value
        if not self.strict and key not in self.group:
            return value
        stored = self.group[key]
        if stored.shape is None:
            return None
        if value is None:
            return np.asarray(stored)
        if isinstance(value, str):
            return stored.asstr()[()]
        if isinstance(value, np.ndarray):
            stored.read_direct(value)
        elif isinstance(value, cuda.ndarray):
            value.set(np.asarray(stored, dtype=value.dtype))
        else:
            value = type(value)(np.asarray(stored))
        return value


def load_hdf5(filename, obj):
    """Load an object from what :func:`save_hdf5` has written."""
    _check_available()
    with h5py.File(filename, "r") as file:
        HDF5Deserializer(file).load(obj)
