"""Sets of small pictures with labels: from ``$CHAINER_DATASET_ROOT``, or the web.

Below the root, ``pfnet/chainer/mnist`` has ``train.npz`` and ``test.npz`` (``x``: N
images of 784 bytes, ``y``: N labels), as have ``fashion-mnist`` and
``kuzushiji_mnist``; ``cifar`` has ``cifar-10.npz`` and ``cifar-100.npz`` (``train_x``,
``train_y``, ``test_x``, ``test_y``), ``svhn`` files of images (32, 32, 3, N). Put the
files there where nothing can be downloaded.

All functions return a training and a test set: images, pixels being 0 to ``scale``, as
one array, or a :class:`TupleDataset` of images and labels.
"""

import gzip
import os
import tarfile

import numpy as np

from dyrnn.chainer.configuration import get_dtype
from dyrnn.chainer.dataset import files
from dyrnn.chainer.datasets.combined import TupleDataset

_MNIST = "http://yann.lecun.com/exdb/mnist/"
_FASHION = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
_KUZUSHIJI = "http://codh.rois.ac.jp/kmnist/dataset/kmnist/"
_CIFAR = "https://www.cs.toronto.edu/~kriz/{}-binary.tar.gz"
_SVHN = "http://ufldl.stanford.edu/housenumbers/{}_32x32.mat"

_fashion_mnist_labels = [
    *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
    *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
]
_kuzushiji_mnist_labels = list(
    zip("o ki su tsu na ha ma ya re wo".split(), "おきすつなはまやれを", strict=True)
)


def _scaled(images, labels, withlabel, scale, dtype, label_dtype):
    images = images.astype(dtype)
    images *= scale / 255.0
    return TupleDataset(images, labels.astype(label_dtype)) if withlabel else images


def _read_mnist(urls):
    """Return the images and labels of two files of MNIST's format."""
    arrays = {}
    for key, url, header in zip("xy", urls, (16, 8), strict=True):
        with gzip.open(files.cached_download(url)) as file:
            data = file.read()
        n = int.from_bytes(data[4:8], "big")
        arrays[key] = np.frombuffer(data, np.uint8, offset=header).reshape(n, -1)
    arrays["y"] = arrays["y"].ravel()
    if len(arrays["x"]) != len(arrays["y"]):
        raise RuntimeError("wrong pair of MNIST images and labels")
    return arrays


def _get_mnist(folder, url, withlabel, ndim, scale, dtype, label_dtype, rgb_format):
    shapes = {1: (784,), 2: (28, 28), 3: (1, 28, 28)}
    if ndim not in shapes:
        raise ValueError("invalid ndim for MNIST dataset")
    parts = []
    for name, prefix in (("train", "train"), ("test", "t10k")):
        urls = [
            f"{url}{prefix}-{kind}-ubyte.gz" for kind in ("images-idx3", "labels-idx1")
        ]
        raw = files.cached_arrays(folder, name, lambda urls=urls: _read_mnist(urls))
        images = raw["x"].reshape(-1, *shapes[ndim])
        if ndim == 3 and rgb_format:
            images = np.broadcast_to(images, (len(images), 3, 28, 28))
        dtype = get_dtype(dtype)
        parts.append(_scaled(images, raw["y"], withlabel, scale, dtype, label_dtype))
    return tuple(parts)


def get_mnist(
    withlabel=True,
    ndim=1,
    scale=1.0,
    dtype=None,
    label_dtype=np.int32,
    rgb_format=False,
):
    """Return MNIST, handwritten digits.

    ``ndim`` is 1 for rows of 784 pixels, 2 for (28, 28), 3 for (1, 28, 28), or
    (3, 28, 28) with ``rgb_format``.
    """
    options = (withlabel, ndim, scale, dtype, label_dtype, rgb_format)
    return _get_mnist("mnist", _MNIST, *options)


def get_fashion_mnist(
    withlabel=True,
    ndim=1,
    scale=1.0,
    dtype=None,
    label_dtype=np.int32,
    rgb_format=False,
):
    """Return Fashion-MNIST, clothes, as :func:`get_mnist`."""
    options = (withlabel, ndim, scale, dtype, label_dtype, rgb_format)
    return _get_mnist("fashion-mnist", _FASHION, *options)


def get_fashion_mnist_labels():
    """Return the names of Fashion-MNIST's labels."""
    return list(_fashion_mnist_labels)


def get_kuzushiji_mnist(
    withlabel=True,
    ndim=1,
    scale=1.0,
    dtype=None,
    label_dtype=np.int32,
    rgb_format=False,
):
    """Return Kuzushiji-MNIST, handwritten Japanese, as :func:`get_mnist`."""
    options = (withlabel, ndim, scale, dtype, label_dtype, rgb_format)
    return _get_mnist("kuzushiji_mnist", _KUZUSHIJI, *options)


def get_kuzushiji_mnist_labels():
    """Return Kuzushiji-MNIST's characters, each with its romanization before it."""
    return list(_kuzushiji_mnist_labels)


def get_cifar10(withlabel=True, ndim=3, scale=1.0, dtype=None):
    """Return CIFAR-10, ten kinds of things, of shape (3, 32, 32) or, flat, (3072,)."""
    return _get_cifar("cifar-10", 1, withlabel, ndim, scale, dtype)


def get_cifar100(withlabel=True, ndim=3, scale=1.0, dtype=None):
    """Return CIFAR-100, as :func:`get_cifar10`."""
    return _get_cifar("cifar-100", 2, withlabel, ndim, scale, dtype)


def _get_cifar(name, n_labels, withlabel, ndim, scale, dtype):
    if ndim not in (1, 3):
        raise ValueError("invalid ndim for CIFAR dataset")
    shape = (3072,) if ndim == 1 else (3, 32, 32)
    raw = files.cached_arrays("cifar", name, lambda: _read_cifar(name, n_labels))
    return tuple(
        [
            _scaled(
                raw[f"{part}_x"].reshape(-1, *shape),
                raw[f"{part}_y"],
                withlabel,
                scale,
                get_dtype(dtype),
                np.int32,
            )
            for part in ("train", "test")
        ]
    )


def _read_cifar(name, n_labels):
    """Return the images and (fine) labels of an archive of rows of bytes."""
    rows = {"train": [], "test": []}
    with tarfile.open(files.cached_download(_CIFAR.format(name))) as archive:
        for member in sorted(archive.getmembers(), key=lambda member: member.name):
            if member.name.endswith(".bin"):
                data = np.frombuffer(archive.extractfile(member).read(), np.uint8)
                part = "test" if "test" in os.path.basename(member.name) else "train"
                rows[part].append(data.reshape(-1, n_labels + 3072))
    arrays = {}
    for part, blocks in rows.items():
        table = np.concatenate(blocks)
        arrays[f"{part}_x"] = table[:, n_labels:]
        arrays[f"{part}_y"] = table[:, n_labels - 1]
    return arrays


def get_svhn(
    withlabel=True, scale=1.0, dtype=None, label_dtype=np.int32, add_extra=False
):
    """Return Street View House Numbers, digits of shape (3, 32, 32).

    With ``add_extra``, a third set, of more training examples. SciPy reads the files.
    """
    sets = []
    for name in ("train", "test", "extra")[: 3 if add_extra else 2]:
        raw = files.cached_arrays("svhn", name, lambda name=name: _read_svhn(name))
        images = raw["x"].transpose(3, 2, 0, 1)
        labels = raw["y"].ravel() % 10  # the digit 0 is stored as 10
        dtype = get_dtype(dtype)
        sets.append(_scaled(images, labels, withlabel, scale, dtype, label_dtype))
    return tuple(sets)


def _read_svhn(name):
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise ImportError(
            "get_svhn needs SciPy to read the files: install scipy."
        ) from (error)
    raw = loadmat(files.cached_download(_SVHN.format(name)))
    return {"x": raw["X"].astype(np.uint8), "y": raw["y"].astype(np.uint8)}
