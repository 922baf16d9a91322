"""Datasets made of other datasets: tuples, dictionaries, parts, sums and transforms.

A dataset is anything with ``len(dataset)`` and ``dataset[i]``; a list or an array will
do. The classes here also take a slice, or a list or an array of indices, and then
return a list of examples.
"""

import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from dyrnn import random
from dyrnn.typing import Array, Examples


class Dataset:
    """Base class: define ``__len__`` and ``get_example(i)`` with 0 <= i < len."""

    def __len__(self) -> int:
        raise NotImplementedError(f"{type(self).__name__} must define __len__")

    def get_example(self, i: int) -> Any:
        """Return example ``i``."""
        raise NotImplementedError(f"{type(self).__name__} must define get_example")

    def __repr__(self):
        return f"<{type(self).__name__} of {len(self)} examples>"

    def __getitem__(self, index: Any) -> Any:
        length = len(self)
        if isinstance(index, slice):
            return [self.get_example(i) for i in range(*index.indices(length))]
        if isinstance(index, (list, np.ndarray)) and np.ndim(index) == 1:
            if np.asarray(index).dtype == bool:
                index = np.flatnonzero(index)
            return [self[i] for i in index]
        i = operator.index(index)
        if not -length <= i < length:
            raise IndexError(f"index {i} is out of range: there are {length} examples")
        return self.get_example(i + length if i < 0 else i)


class TupleDataset(Dataset):
    """Examples that are tuples of one example of each dataset.

    Raises
    ------
    ValueError
        If there are no datasets, or their lengths differ.
    """

    def __init__(self, *datasets: Examples) -> None:
        _check_lengths(dict(enumerate(datasets)))
        self._datasets = datasets

    def __len__(self):
        return len(self._datasets[0])

    def get_example(self, i):
        return tuple(dataset[i] for dataset in self._datasets)


class DictDataset(Dataset):
    """Examples that are dictionaries of one example of each dataset, by its name.

    Raises
    ------
    ValueError
        If there are no datasets, or their lengths differ.
    """

    def __init__(self, **datasets: Examples) -> None:
        _check_lengths(datasets)
        self._datasets = datasets
        self._length = len(next(iter(datasets.values())))

    def __len__(self):
        return self._length

    def get_example(self, i):
        return {key: dataset[i] for key, dataset in self._datasets.items()}


def _check_lengths(datasets):
    lengths = {key: len(dataset) for key, dataset in datasets.items()}
    if len(set(lengths.values())) != 1:
        raise ValueError(
            f"one or more datasets of one length are needed; lengths given: {lengths}"
        )


class TransformDataset(Dataset):
    """Examples of ``dataset`` passed through ``transform`` when they are asked for."""

    def __init__(self, dataset: Examples, transform: Callable) -> None:
        self._dataset = dataset
        self._transform = transform

    def __len__(self):
        return len(self._dataset)

    def get_example(self, i):
        return self._transform(self._dataset[i])


class ConcatenatedDataset(Dataset):
    """The examples of several datasets, one dataset after the other."""

    def __init__(self, *datasets: Examples) -> None:
        self._datasets = datasets
        self._ends = np.cumsum([len(dataset) for dataset in datasets], dtype=int)

    def __len__(self):
        return int(self._ends[-1]) if len(self._ends) else 0

    def get_example(self, i):
        k = int(np.searchsorted(self._ends, i, side="right"))
        start = int(self._ends[k - 1]) if k else 0
        return self._datasets[k][i - start]


class SubDataset(Dataset):
    """Examples ``start`` to ``finish`` of a dataset, in its order or another.

    Parameters
    ----------
    dataset : sequence
    start, finish : int, 0 <= start <= finish <= len(dataset)
    order : sequence of int, optional
        A permutation: example i of the part is ``dataset[order[start + i]]``.
    """

    def __init__(
        self,
        dataset: Examples,
        start: int,
        finish: int,
        order: Sequence[int] | Array | None = None,
    ) -> None:
        length = len(dataset)
        if not 0 <= start <= finish <= length:
            raise ValueError(
                f"start {start} and finish {finish} must be in this order between 0 "
                f"and the number of examples, {length}"
            )
        if order is not None and len(order) != length:
            raise ValueError(
                f"the order has {len(order)} indices, but the dataset {length} examples"
            )
        self._dataset = dataset
        self._start = start
        self._length = finish - start
        self._order = order

    def __len__(self):
        return self._length

    def get_example(self, i):
        i += self._start
        return self._dataset[i if self._order is None else self._order[i]]


def split_dataset(
    dataset: Examples, split_at: int, order: Sequence[int] | Array | None = None
) -> tuple[SubDataset, SubDataset]:
    """Return the examples before ``split_at``, and those from there on."""
    split_at = operator.index(split_at)
    if not 0 < split_at < len(dataset):
        raise ValueError(
            f"split_at {split_at} leaves a part empty: use 1 to {len(dataset) - 1}"
        )
    return (
        SubDataset(dataset, 0, split_at, order),
        SubDataset(dataset, split_at, len(dataset), order),
    )


def split_dataset_random(
    dataset: Examples, first_size: int, seed: int | None = None
) -> tuple[SubDataset, SubDataset]:
    """Split into two random parts, the first with ``first_size`` examples.

    ``seed`` makes the parts the same in each run; without one they depend on the seed
    of :mod:`dyrnn.random`.
    """
    return split_dataset(dataset, first_size, _permutation(len(dataset), seed))


def split_dataset_n(
    dataset: Examples, n: int, order: Sequence[int] | Array | None = None
) -> list[SubDataset]:
    """Split into ``n`` parts of equal size; the examples left over are in none."""
    if not 1 < operator.index(n) <= len(dataset):
        raise ValueError(f"cannot make {n} parts of {len(dataset)} examples")
    size = len(dataset) // n
    return [SubDataset(dataset, i * size, (i + 1) * size, order) for i in range(n)]


def split_dataset_n_random(
    dataset: Examples, n: int, seed: int | None = None
) -> list[SubDataset]:
    """Split into ``n`` random parts of equal size; see :func:`split_dataset_n`."""
    return split_dataset_n(dataset, n, _permutation(len(dataset), seed))


def _permutation(length, seed):
    generator = (
        random.stream("split").generator
        if seed is None
        else np.random.default_rng(seed)
    )
    return generator.permutation(length)
