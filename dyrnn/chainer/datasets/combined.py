"""Datasets made of datasets: the core's, with Chainer's messages and random orders."""

import warnings

import numpy as np

from dyrnn import datasets
from dyrnn.chainer.dataset.bases import DatasetMixin


class TupleDataset(datasets.TupleDataset):
    """Examples ``(dataset1[i], dataset2[i], ...)``."""

    def __init__(self, *datasets):
        if not datasets:
            raise ValueError("no datasets are given")
        for i, dataset in enumerate(datasets):
            if len(dataset) != len(datasets[0]):
                raise ValueError(f"dataset of the index {i} has a wrong length")
        super().__init__(*datasets)


class DictDataset(datasets.DictDataset):
    """Examples ``{"key1": dataset1[i], ...}``."""

    def __init__(self, **datasets):
        if not datasets:
            raise ValueError("no datasets are given")
        length = len(next(iter(datasets.values())))
        for key, dataset in datasets.items():
            if len(dataset) != length:
                raise ValueError(f'dataset length conflicts at "{key}"')
        super().__init__(**datasets)


class ConcatenatedDataset(datasets.ConcatenatedDataset, DatasetMixin):
    """The examples of several datasets, one after the other."""


class TransformDataset(datasets.TransformDataset, DatasetMixin):
    """Examples ``transform(dataset[i])``."""


class SubDataset(datasets.SubDataset, DatasetMixin):
    """Examples ``start`` to ``finish`` of a dataset, in the ``order`` if given."""

    def __init__(self, dataset, start, finish, order=None):
        if start < 0 or finish > len(dataset):
            raise ValueError("subset overruns the base dataset.")
        if order is not None and len(order) != len(dataset):
            raise ValueError(
                "order option must have the same length as the base dataset: "
                f"len(order) = {len(order)} while len(dataset) = {len(dataset)}"
            )
        super().__init__(dataset, start, finish, order)


def split_dataset(dataset, split_at, order=None):
    """Return the first ``split_at`` examples and the others."""
    if not isinstance(split_at, (int, np.integer)):
        raise TypeError(f"split_at must be int, got {type(split_at)} instead")
    if split_at < 0:
        raise ValueError("split_at must be non-negative")
    if split_at > len(dataset):
        raise ValueError("split_at exceeds the dataset size")
    if 0 < split_at < len(dataset):
        return datasets.split_dataset(dataset, split_at, order)
    first = SubDataset(dataset, 0, split_at, order)  # one of them is empty
    return first, SubDataset(dataset, split_at, len(dataset), order)


def _random_order(dataset, seed):
    # NumPy's old generator: the same splits as ever.
    return np.random.RandomState(seed).permutation(len(dataset))


def split_dataset_random(dataset, first_size, seed=None):
    """Return ``first_size`` examples drawn at random and the others."""
    return split_dataset(dataset, first_size, _random_order(dataset, seed))


def split_dataset_n(dataset, n, order=None):
    """Return ``n`` parts of equal size; up to ``n - 1`` examples are left out."""
    return datasets.split_dataset_n(dataset, n, order)


def split_dataset_n_random(dataset, n, seed=None):
    """Return ``n`` parts of equal size, drawn at random."""
    return split_dataset_n(dataset, n, _random_order(dataset, seed))


def _number_of_folds(n_folds, kwargs):
    if "n_fold" not in kwargs:
        return n_folds
    warnings.warn(
        "Argument `n_fold` is deprecated. Please use `n_folds` instead",
        DeprecationWarning,
        stacklevel=1,
    )
    return kwargs["n_fold"]


def get_cross_validation_datasets(dataset, n_folds=None, order=None, **kwargs):
    """Return ``n_folds`` pairs of training and test sets; each example tests once."""
    n_folds = _number_of_folds(n_folds, kwargs)
    size = len(dataset)
    order = np.arange(size) if order is None else np.array(order)
    borders = [size * i // n_folds for i in range(n_folds + 1)]
    splits = []
    for i in reversed(range(n_folds)):
        n_test = borders[i + 1] - borders[i]
        splits.append(split_dataset(dataset, size - n_test, order))
        order = np.concatenate([order[size - n_test :], order[: size - n_test]])
    return splits


def get_cross_validation_datasets_random(dataset, n_folds=None, seed=None, **kwargs):
    """As :func:`get_cross_validation_datasets`, of examples in a random order."""
    n_folds = _number_of_folds(n_folds, kwargs)
    order = _random_order(dataset, seed)
    return get_cross_validation_datasets(dataset, n_folds, order)
