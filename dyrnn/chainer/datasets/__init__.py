"""Chainer's names ``chainer.datasets``."""

from functools import partial

from dyrnn.chainer.aliases import folder_or_raise
from dyrnn.chainer.datasets.combined import (
    ConcatenatedDataset,
    DictDataset,
    SubDataset,
    TransformDataset,
    TupleDataset,
    get_cross_validation_datasets,
    get_cross_validation_datasets_random,
    split_dataset,
    split_dataset_n,
    split_dataset_n_random,
    split_dataset_random,
)
from dyrnn.chainer.datasets.downloaded import get_ptb_words, get_ptb_words_vocabulary
from dyrnn.chainer.datasets.files import TextDataset
from dyrnn.chainer.datasets.pictures import (
    get_fashion_mnist,
    get_fashion_mnist_labels,
    get_mnist,
)

__getattr__ = partial(folder_or_raise, __name__)
