"""Images in files and in zip archives: arrays of (channels, height, width).

Pillow reads them; it is needed only here. Images of different kinds have different
numbers of channels: convert them to one before they are stacked.
"""

import importlib.util
import io
import os
import threading
import zipfile

import numpy as np

from dyrnn.chainer.configuration import get_dtype
from dyrnn.chainer.dataset.bases import DatasetMixin, Reopened
from dyrnn.chainer.datasets.combined import ConcatenatedDataset

available = importlib.util.find_spec("PIL") is not None


def _check_pillow_availability():
    if not available:
        raise ImportError("Images are read by Pillow, which is not installed.")


def _read_image(file, dtype):
    from PIL import Image

    with Image.open(file) as image:
        array = np.asarray(image, dtype=dtype)
    return np.atleast_3d(array).transpose(2, 0, 1)


def _read_pairs(path):
    """Return (path, label) of each line of a file."""
    pairs = []
    with open(path) as file:
        for i, line in enumerate(file):
            words = line.split()
            if len(words) != 2:
                raise ValueError(f"invalid format at line {i} in file {path}")
            pairs.append((words[0], int(words[1])))
    return pairs


class ImageDataset(DatasetMixin):
    """Images in files.

    Parameters
    ----------
    paths : str or list of str
        A file with a path in each line, or the paths.
    root : str
        The folder that they are below.
    dtype : optional
        By default ``config.dtype``.
    """

    def __init__(self, paths, root=".", dtype=None):
        _check_pillow_availability()
        if isinstance(paths, str):
            with open(paths) as file:
                paths = [path.strip() for path in file]
        self._paths = paths
        self._root = root
        self._dtype = get_dtype(dtype)

    def __len__(self):
        return len(self._paths)

    def get_example(self, i):
        return _read_image(os.path.join(self._root, self._paths[i]), self._dtype)


class LabeledImageDataset(DatasetMixin):
    """Images in files, and labels.

    Parameters
    ----------
    pairs : str or list of tuples
        A file with a path and a number in each line, or (path, label).
    root, dtype
        As for :class:`ImageDataset`.
    label_dtype
    """

    def __init__(self, pairs, root=".", dtype=None, label_dtype=np.int32):
        if isinstance(pairs, str):
            pairs = _read_pairs(pairs)
        self._labels = [label for _, label in pairs]
        self._images = ImageDataset([path for path, _ in pairs], root, dtype)
        self._label_dtype = label_dtype

    def __len__(self):
        return len(self._labels)

    def get_example(self, i):
        label = np.array(self._labels[i], self._label_dtype)
        return self._images.get_example(i), label


class ZippedImageDataset(Reopened, DatasetMixin):
    """Images in a zip archive, which each process opens for itself.

    Parameters
    ----------
    zipfilename : str
    dtype : optional
        By default ``config.dtype``.
    """

    _open_names = ("_archive", "_pid", "_lock")

    def __init__(self, zipfilename, dtype=None):
        _check_pillow_availability()
        self._zipfilename = zipfilename
        self._dtype = get_dtype(dtype)
        self._open()
        names = self._archive.namelist()
        self._paths = [name for name in names if not name.endswith("/")]

    def _open(self):
        self._archive = zipfile.ZipFile(self._zipfilename)
        self._pid = os.getpid()
        self._lock = threading.Lock()

    def __len__(self):
        return len(self._paths)

    def get_example(self, i_or_filename):
        name = i_or_filename
        if not isinstance(name, str):
            name = self._paths[name]
        if self._pid != os.getpid():
            self._open()
        with self._lock:
            data = self._archive.read(name)
        return _read_image(io.BytesIO(data), self._dtype)


class MultiZippedImageDataset(ConcatenatedDataset):
    """Images in several zip archives; see :class:`ZippedImageDataset`."""

    def __init__(self, zipfilenames, dtype=None):
        super().__init__(*[ZippedImageDataset(name, dtype) for name in zipfilenames])


class LabeledZippedImageDataset(DatasetMixin):
    """Images in a zip archive, and labels in a file as of :class:`LabeledImageDataset`.

    Parameters
    ----------
    zipfilename, dtype
        As for :class:`ZippedImageDataset`.
    labelfilename : str
        A file with a name in the archive and a number in each line.
    label_dtype
    """

    def __init__(self, zipfilename, labelfilename, dtype=None, label_dtype=np.int32):
        self._pairs = _read_pairs(labelfilename)
        self._label_dtype = label_dtype
        self._images = ZippedImageDataset(zipfilename, dtype)

    def __len__(self):
        return len(self._pairs)

    def get_example(self, i):
        name, label = self._pairs[i]
        return self._images.get_example(name), np.array(label, self._label_dtype)
