"""Datasets made of datasets: side by side, end to end, parts, transformed."""

import warnings

import numpy as np

from dyrnn.chainer.dataset.bases import DatasetMixin


class TupleDataset:
    """Examples ``(dataset1[i], dataset2[i], ...)``."""

    def __init__(self, *datasets):
        if not datasets:
            raise ValueError("no datasets are given")
        self._datasets = datasets
        self._length = len(datasets[0])
        for i, dataset in enumerate(datasets):
            if len(dataset) != self._length:
                raise ValueError(f"dataset of the index {i} has a wrong length")

    def __getitem__(self, index):
        columns = [dataset[index] for dataset in self._datasets]
        if not isinstance(index, slice):
            return tuple(columns)
        rows = range(len(columns[0]))
        return [tuple([column[i] for column in columns]) for i in rows]

    def __len__(self):
        return self._length


class DictDataset:
    """Examples ``{"key1": dataset1[i], ...}``."""

    def __init__(self, **datasets):
        if not datasets:
            raise ValueError("no datasets are given")
        self._datasets = datasets
        self._length = len(next(iter(datasets.values())))
        for key, dataset in datasets.items():
            if len(dataset) != self._length:
                raise ValueError(f'dataset length conflicts at "{key}"')

    def __getitem__(self, index):
        columns = {key: dataset[index] for key, dataset in self._datasets.items()}
        if not isinstance(index, slice):
            return columns
        rows = range(len(next(iter(columns.values()))))
        return [{key: column[i] for key, column in columns.items()} for i in rows]

    def __len__(self):
        return self._length


class ConcatenatedDataset(DatasetMixin):
    """The examples of several datasets, one after the other."""

    def __init__(self, *datasets):
        self._datasets = datasets

    def __len__(self):
        return sum([len(dataset) for dataset in self._datasets])

    def get_example(self, i):
        if i < 0:
            raise IndexError
        for dataset in self._datasets:
            if i < len(dataset):
                return dataset[i]
            i -= len(dataset)
        raise IndexError


class TransformDataset(DatasetMixin):
    """Examples ``transform(dataset[i])``."""

    def __init__(self, dataset, transform):
        self._dataset = dataset
        self._transform = transform

    def __len__(self):
        return len(self._dataset)

    def get_example(self, i):
        return self._transform(self._dataset[i])


class SubDataset(DatasetMixin):
    """Examples ``start`` to ``finish`` of a dataset, in the ``order`` if given."""

    def __init__(self, dataset, start, finish, order=None):
        if start < 0 or finish > len(dataset):
            raise ValueError("subset overruns the base dataset.")
        if order is not None and len(order) != len(dataset):
            raise ValueError(
                "order option must have the same length as the base dataset: "
                f"len(order) = {len(order)} while len(dataset) = {len(dataset)}"
            )
        self._dataset = dataset
        self._start = start
        self._finish = finish
        self._order = order

    def __len__(self):
        return self._finish - self._start

    def get_example(self, i):
        if not -len(self) <= i < len(self):
            raise IndexError("dataset index out of range")
        index = i + (self._start if i >= 0 else self._finish)
        return self._dataset[index if self._order is None else self._order[index]]


def split_dataset(dataset, split_at, order=None):
    """Return the first ``split_at`` examples and the others."""
    if not isinstance(split_at, (int, np.integer)):
        raise TypeError(f"split_at must be int, got {type(split_at)} instead")
    if split_at < 0:
        raise ValueError("split_at must be non-negative")
    if split_at > len(dataset):
        raise ValueError("split_at exceeds the dataset size")
    first = SubDataset(dataset, 0, split_at, order)
    return first, SubDataset(dataset, split_at, len(dataset), order)


def _random_order(dataset, seed):
    # NumPy's old generator: the same splits as ever.
    return np.random.RandomState(seed).permutation(len(dataset))


def split_dataset_random(dataset, first_size, seed=None):
    """Return ``first_size`` examples drawn at random and the others."""
    return split_dataset(dataset, first_size, _random_order(dataset, seed))


def split_dataset_n(dataset, n, order=None):
    """Return ``n`` parts of equal size; up to ``n - 1`` examples are left out."""
    size = len(dataset) // n
    return [SubDataset(dataset, size * i, size * (i + 1), order) for i in range(n)]


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
