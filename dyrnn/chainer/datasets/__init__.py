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
from dyrnn.chainer.datasets.downloaded import (
    get_mnist,
    get_ptb_words,
    get_ptb_words_vocabulary,
)
from dyrnn.chainer.datasets.files import (
    PickleDataset,
    PickleDatasetWriter,
    TextDataset,
    open_pickle_dataset,
    open_pickle_dataset_writer,
)

__all__ = [
    "ConcatenatedDataset",
    "DictDataset",
    "PickleDataset",
    "PickleDatasetWriter",
    "SubDataset",
    "TextDataset",
    "TransformDataset",
    "TupleDataset",
    "get_cross_validation_datasets",
    "get_cross_validation_datasets_random",
    "get_mnist",
    "get_ptb_words",
    "get_ptb_words_vocabulary",
    "open_pickle_dataset",
    "open_pickle_dataset_writer",
    "split_dataset",
    "split_dataset_n",
    "split_dataset_n_random",
    "split_dataset_random",
]

__getattr__ = partial(folder_or_raise, __name__)
