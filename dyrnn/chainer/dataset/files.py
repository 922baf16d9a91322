"""Files of datasets, under one folder: ``$CHAINER_DATASET_ROOT``.

Each file is made under another name and then renamed, so programs that start at the
same time need no lock.
"""

import hashlib
import os
import sys
from urllib import request

import numpy as np

from dyrnn.chainer.configuration import environment
from dyrnn.chainer.utils import tempdir

_dataset_root = environment(
    "CHAINER_DATASET_ROOT",
    os.path.join(os.path.expanduser("~"), ".chainer", "dataset"),
)


def get_dataset_root():
    """Return the folder of all datasets."""
    return _dataset_root


def set_dataset_root(path):
    """Set the folder of all datasets."""
    global _dataset_root
    _dataset_root = path


def get_dataset_directory(dataset_name, create_directory=True):
    """Return the folder of one dataset."""
    path = os.path.join(_dataset_root, dataset_name)
    if create_directory:
        os.makedirs(path, exist_ok=True)
    return path


def cached_download(url):
    """Return the path of a file that is downloaded once."""
    folder = os.path.join(_dataset_root, "_dl_cache")
    os.makedirs(folder, exist_ok=True)
    name = hashlib.md5(url.encode(), usedforsecurity=False).hexdigest()
    path = os.path.join(folder, name)
    if os.path.exists(path):
        return path
    with tempdir(dir=folder) as temporary:
        part = os.path.join(temporary, "dl")
        sys.stderr.write(f"Downloading from {url}...\n")
        sys.stderr.flush()
        # Through six, as Chainer, where a script has replaced that function.
        sys.modules.get("six.moves.urllib.request", request).urlretrieve(url, part)
        os.replace(part, path)
    return path


def cache_or_load_file(path, creator, loader):
    """Return ``loader(path)``, or ``creator(path)`` where there is no file yet."""
    if os.path.exists(path):
        return loader(path)
    try:
        os.makedirs(_dataset_root, exist_ok=True)
    except OSError as error:
        raise RuntimeError("cannot create dataset directory") from error
    with tempdir(dir=_dataset_root) as temporary:
        part = os.path.join(temporary, os.path.basename(path))
        content = creator(part)
        if not os.path.exists(path):
            os.replace(part, path)
    return content


def load_npz(path):
    """Return the arrays of a file of :func:`numpy.savez`, a dictionary."""
    with np.load(path) as npz:
        return dict(npz)


def cached_arrays(folder, name, creator):
    """Return the arrays of ``name.npz``; ``creator()`` makes them if there is none."""

    def create(path):
        arrays = creator()
        np.savez_compressed(path, **arrays)
        return arrays

    root = get_dataset_directory(f"pfnet/chainer/{folder}")
    return cache_or_load_file(os.path.join(root, f"{name}.npz"), create, load_npz)
