"""MNIST and Fashion-MNIST: from ``$CHAINER_DATASET_ROOT``, or the web.

Below the root, ``pfnet/chainer/mnist`` and ``fashion-mnist`` have ``train.npz`` and
``test.npz`` (``x``: N images of 784 bytes, ``y``: N labels). Put the files there where
nothing can be downloaded.

The functions return a training and a test set: images, pixels being 0 to ``scale``, as
one array, or a :class:`TupleDataset` of images and labels. ``ndim`` is 1 for rows of
784 pixels, 2 for (28, 28), 3 for (1, 28, 28), or (3, 28, 28) with ``rgb_format``.
"""

import gzip

import numpy as np

from dyrnn.chainer.configuration import get_dtype
from dyrnn.chainer.dataset import files
from dyrnn.chainer.datasets.combined import TupleDataset

_MNIST = "http://yann.lecun.com/exdb/mnist/"
_FASHION = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"

_fashion_mnist_labels = [
    *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
    *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
]


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


def _get(folder, url, withlabel, ndim, scale, dtype, label_dtype, rgb_format):
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
    """Return MNIST, handwritten digits."""
    options = (withlabel, ndim, scale, dtype, label_dtype, rgb_format)
    return _get("mnist", _MNIST, *options)


def get_fashion_mnist(
    withlabel=True,
    ndim=1,
    scale=1.0,
    dtype=None,
    label_dtype=np.int32,
    rgb_format=False,
):
    """Return Fashion-MNIST, clothes."""
    options = (withlabel, ndim, scale, dtype, label_dtype, rgb_format)
    return _get("fashion-mnist", _FASHION, *options)


def get_fashion_mnist_labels():
    """Return the names of Fashion-MNIST's labels."""
    return list(_fashion_mnist_labels)
