"""Objects saved and loaded again."""

from pathlib import Path

from dyrnn.chainer import serializers
from dyrnn.chainer.utils.misc import tempdir


def save_and_load(src, dst, filename, saver, loader):
    """Save ``src`` to a temporary file, and load that into ``dst``."""
    with tempdir() as folder:
        path = str(Path(folder) / filename)
        saver(path, src)
        loader(path, dst)


def save_and_load_npz(src, dst):
    """Save and load by npz."""
    save_and_load(src, dst, "tmp.npz", serializers.save_npz, serializers.load_npz)


def save_and_load_hdf5(src, dst):
    """Save and load by HDF5."""
    save_and_load(src, dst, "tmp.h5", serializers.save_hdf5, serializers.load_hdf5)
