"""Mini-batches of sequences of similar length, so that padding costs little."""

from collections.abc import Callable, Sequence

import numpy as np

from dyrnn.iterators.base import positive_integer
from dyrnn.iterators.serial import RandomOrderSampler, SerialIterator, shuffle_stream
from dyrnn.typing import Array, Examples


class BucketOrderSampler(RandomOrderSampler):
    """Order examples so that those of one batch have similar lengths.

    The examples are shuffled and cut into pools of ``pool`` batches; each pool is
    sorted by length and cut into batches; then the batches are shuffled. If the last
    batch is short it stays last.

    Parameters
    ----------
    lengths : sequence of int
        Length of every example.
    batch_size : int
    pool : int
        Batches sorted together. 1: no bucketing; more: less padding, less randomness.
    shuffle : bool
        False: all examples in one pool, shortest first, the same in every epoch.
    stream : str
        Name of the stream to draw from, see `dyrnn.random.own_stream`.
    """

    def __init__(
        self,
        lengths: Sequence[int] | Array,
        batch_size: int,
        pool: int = 100,
        shuffle: bool = True,
        stream: str = "shuffle",
    ) -> None:
        self.lengths = np.asarray(lengths)
        self.batch_size = positive_integer("batch_size", batch_size)
        self.pool = positive_integer("pool", pool)
        self.shuffle = shuffle
        if shuffle:
            super().__init__(stream)

    def __call__(self, order, position):
        if not self.shuffle:
            return np.argsort(self.lengths, kind="stable")
        generator = self.generator
        shuffled = generator.permutation(len(self.lengths))
        size = self.pool * self.batch_size
        pools = [
            pool[np.argsort(self.lengths[pool], kind="stable")]
            for pool in (shuffled[i : i + size] for i in range(0, len(shuffled), size))
        ]
        ordered = np.concatenate(pools) if pools else shuffled
        whole = len(ordered) // self.batch_size
        batches = ordered[: whole * self.batch_size].reshape(whole, self.batch_size)
        rest = ordered[whole * self.batch_size :]
        return np.concatenate((generator.permutation(batches).ravel(), rest))


class BucketIterator(SerialIterator):
    """Mini-batches, as lists, of examples of similar length.

    An epoch visits every example once; its last batch may be short. Pad a batch with
    :func:`dyrnn.datasets.pad_sequences` or ``concat_examples(batch, padding=...)``.

    Parameters
    ----------
    dataset : sequence
    batch_size : int
    length : callable
        ``length(example)`` is what to sort by; by default that of the example, or of
        its first part if it is a tuple. Called once per example, at construction.
    repeat, pool, shuffle
        As for :class:`SerialIterator` and :class:`BucketOrderSampler`.
    """

    _owns_order = True
    _fills_up = False

    def __init__(
        self,
        dataset: Examples,
        batch_size: int,
        length: Callable | None = None,
        repeat: bool = True,
        pool: int = 100,
        shuffle: bool = True,
    ) -> None:
        length = length or _length
        lengths = [length(dataset[i]) for i in range(len(dataset))]
        stream = shuffle_stream(repeat)
        sampler = BucketOrderSampler(lengths, batch_size, pool, shuffle, stream)
        super().__init__(dataset, batch_size, repeat, order_sampler=sampler)


def _length(example):
    return len(example[0] if isinstance(example, tuple) else example)
