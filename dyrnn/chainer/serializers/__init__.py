"""Chainer's names ``chainer.serializers``."""

from functools import partial

from dyrnn.chainer.aliases import folder_or_raise
from dyrnn.chainer.serializers.dictionaries import (
    DictionarySerializer,
    NpzDeserializer,
    load_npz,
    save_npz,
)
from dyrnn.chainer.serializers.groups import (
    HDF5Deserializer,
    HDF5Serializer,
    load_hdf5,
    save_hdf5,
)

__all__ = [
    "DictionarySerializer",
    "HDF5Deserializer",
    "HDF5Serializer",
    "NpzDeserializer",
    "load_hdf5",
    "load_npz",
    "save_hdf5",
    "save_npz",
]

__getattr__ = partial(folder_or_raise, __name__)
