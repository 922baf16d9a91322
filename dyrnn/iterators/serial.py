"""Mini-batches of examples, in order or shuffled, one after the other.

A place in the stream of batches is a small immutable ``Place``; ``_advance`` makes the
next one together with the indices of its batch. So an iterator that reads ahead keeps
the places of the batches it holds, and its public attributes and snapshots stay with
the batch that was handed out last.
"""

import sys
import weakref
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from dyrnn import random
from dyrnn.errors import SnapshotError
from dyrnn.iterators.base import Iterator, positive_integer
from dyrnn.typing import Examples

_ONCE = "-once"


class RandomOrderSampler:
    """Base of order samplers that draw from a stream of their own.

    Parameters
    ----------
    stream : str
        Name of the stream, see `dyrnn.random.own_stream`.
    """

    stream: random.Stream | None = None  # where nothing is drawn

    def __init__(self, stream: str = "shuffle") -> None:
        self._name = stream
        self.stream = random.own_stream(stream)

    @property
    def generator(self):
        """What to draw from."""
        assert self.stream is not None
        return random.in_scope(self.stream).generator

    def serialize(self, s):
        """Save or load how far the stream is."""
        if self.stream is None:
            return
        if s.has("state"):
            self.stream.serialize(s)
        else:  # an older file, with one stream for all
            self.stream = random.stream(self._name.removesuffix(_ONCE))


class ShuffleOrderSampler(RandomOrderSampler):
    """Draw a new random order for each epoch, from a stream of one's own."""

    def __call__(self, order, position):
        return self.generator.permutation(len(order))


def shuffle_stream(repeat):
    """Return the stream's name: a single pass does not count among the others."""
    return "shuffle" if repeat else "shuffle" + _ONCE


class Place(NamedTuple):
    """Where the stream of batches stands, after a batch."""

    position: int
    epoch: int
    is_new_epoch: bool
    previous_epoch_detail: float | None
    order: np.ndarray | None


# Of streams that draw orders, but in no updater: the iterator, and where it began.
_idle: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()


def claim_orders(iterators):
    """Let iterators that go to work draw as if others, not at work, were made later.

    At work is what an updater has. An iterator of it that has given batches keeps its
    order, in which each example comes once.
    """
    idle, used = {}, []
    for stream, (owner, _) in list(_idle.items()):
        iterator = owner()
        if iterator is None:
            continue
        if iterator._idle_stream() is stream:
            idle[stream] = iterator
        elif iterator in iterators:
            del _idle[stream]
        else:
            used.append(stream)
    own = [stream for stream, iterator in idle.items() if iterator in iterators]
    others = [stream for stream in idle if stream not in own]
    for stream in sorted(own, key=random.owner_number):
        for each in random.claim(stream, others, used):
            idle[each]._place = idle[each]._start()
            _idle[each] = weakref.ref(idle[each]), idle[each]._place
        del _idle[stream]  # at work


class SerialIterator(Iterator):
    """Mini-batches as lists of examples, read when they are asked for.

    With ``repeat`` a batch at the end of an epoch is filled up from the next one, so
    all batches have the same size; without, the last one may be shorter.

    Parameters
    ----------
    dataset : sequence
    batch_size : int, from 1 to the number of examples
    repeat : bool
        Whether to go on forever. If not, ``StopIteration`` ends the first epoch.
    shuffle : bool, optional
        Whether each epoch has a new random order. True by default, unless
        ``order_sampler`` is given, which takes its place.
    order_sampler : callable, optional
        ``order_sampler(order, position)`` returns the indices of the next epoch, an
        array of always the same size; ``order`` is the present one. Random numbers of
        its own are in snapshots if it has a ``serialize``.

    Raises
    ------
    ValueError, TypeError
        If the batch size is not an integer in its range, or if ``dataset`` is empty
        although ``repeat`` is set.
    """

    goes_on = False
    _owns_order = False  # nobody else has the sampler
    _fills_up = True  # batches go on over the end of an epoch

    def __init__(
        self,
        dataset: Examples,
        batch_size: int,
        repeat: bool = True,
        shuffle: bool | None = None,
        order_sampler: Callable | None = None,
    ) -> None:
        if order_sampler is not None and shuffle is not None:
            raise ValueError(
                "give shuffle or order_sampler, not both: an order_sampler decides "
                "alone whether examples are shuffled"
            )
        self.dataset = dataset
        self.batch_size = positive_integer("batch_size", batch_size)
        if order_sampler is None and shuffle in (None, True):
            self._owns_order = True
            order_sampler = ShuffleOrderSampler(shuffle_stream(repeat))
        self.repeat = repeat
        self.order_sampler = order_sampler
        self._drawn: list[np.ndarray] = []  # orders to use before drawing new ones
        self._place = self._start()
        stream = getattr(order_sampler, "stream", None)
        if isinstance(stream, random.Stream):
            _idle[stream] = weakref.ref(self), self._place
        self._check_size()

    def __del__(self, is_ending=sys.is_finalizing):
        """Leave the order to the next iterator, or, if it was used, to an updater's."""
        if self._owns_order and not is_ending():
            stream = getattr(getattr(self, "order_sampler", None), "stream", None)
            if stream in _idle:
                random.release(stream, is_used=self._idle_stream() is None)

    def _idle_stream(self):
        """Return the stream of an order of which nothing was used yet, or None."""
        # A constructor that failed has left no sampler.
        stream = getattr(getattr(self, "order_sampler", None), "stream", None)
        if not isinstance(stream, random.Stream) or stream not in _idle:
            return None
        owner, place = _idle[stream]
        return stream if owner() is self and place is self._place else None

    def _check_size(self):
        """Refuse a batch that takes more than an epoch."""
        if self._size == 0 and self.repeat:
            raise ValueError("the dataset is empty: there is nothing to repeat")
        if 0 < self._size < self.batch_size:
            raise ValueError(
                f"batch_size {self.batch_size} is larger than the dataset of "
                f"{self._size} examples. Use a batch_size up to {self._size}."
            )

    def _start(self):
        order = None
        if self.order_sampler is not None:
            order = np.arange(len(self.dataset))
            order = np.asarray(self.order_sampler(order, 0))
        self._size = len(self.dataset) if order is None else len(order)
        return Place(0, 0, False, None, order)

    def _next_order(self, order):
        """Return the order of the next epoch: one drawn before, or a new one."""
        if order is None:
            return None
        if self._drawn:
            return self._drawn.pop(0)
        new = np.asarray(self.order_sampler(order, self._size))
        if len(new) != self._size:
            raise ValueError(
                f"order_sampler returned {len(new)} indices after {self._size}: the "
                "order must keep its size"
            )
        return new

    def _advance(self, place):
        """Return the indices of the batch after ``place``, and the place after it."""
        position, epoch, order = place.position, place.epoch, place.order
        if not self.repeat and (epoch > 0 or self._size == 0):
            raise StopIteration
        before = self._detail(place)
        stop = position + self.batch_size
        indices = _part(order, position, min(stop, self._size))
        is_new_epoch = stop >= self._size
        if is_new_epoch:
            epoch += 1
            stop = stop - self._size if self._fills_up and self.repeat else 0
            if self.repeat:
                order = self._next_order(order)
            if stop:
                indices = np.concatenate((indices, _part(order, 0, stop)))
        return indices, Place(stop, epoch, is_new_epoch, before, order)

    def __next__(self) -> list:
        indices, place = self._advance(self._place)
        own = indices[self._own(len(indices))]
        batch = read_examples(self.dataset, own.tolist())
        self._place = place
        return batch

    def _detail(self, place):
        return place.epoch + place.position / max(self._size, 1)

    @property
    def epoch(self):
        """Completed passes over the data."""
        return self._place.epoch

    @property
    def is_new_epoch(self):
        """Whether the newest batch completed a pass."""
        return self._place.is_new_epoch

    @property
    def current_position(self):
        """Number of examples of the present epoch handed out."""
        return self._place.position

    @property
    def order(self):
        """Order of the present epoch, or None if that of the dataset."""
        return self._place.order

    @property
    def epoch_detail(self) -> float:
        """Epochs handed out, with their fraction."""
        return self._detail(self._place)

    @property
    def previous_epoch_detail(self):
        """``epoch_detail`` before the newest batch; None before the first one."""
        return self._place.previous_epoch_detail

    def reset(self) -> None:
        """Start again at the first batch, in a new order if shuffled."""
        self._drawn = []
        self._place = self._start()

    def _drawn_ahead(self):
        """Return the orders of later epochs that were drawn before they were needed."""
        return list(self._drawn)

    def serialize(self, s):
        """Save or load the position, the epoch and the order.

        Raises
        ------
        SnapshotError
            If the saved values do not belong to this dataset and batch size.
        """
        place = self._place
        self._must_match(s, "size", self._size)
        self._must_match(s, "batch_size", self.batch_size)
        self._must_match(s, "shuffled", place.order is not None)
        ahead = np.array(self._drawn_ahead(), dtype=np.int64).reshape(-1, self._size)
        position = s("position", place.position)
        epoch = s("epoch", place.epoch)
        is_new_epoch = s("is_new_epoch", place.is_new_epoch)
        before = s("previous_epoch_detail", place.previous_epoch_detail)
        order = place.order
        if order is not None:
            saved = s("order", None if s.loading else np.asarray(order, np.int64))
            order = order if saved is None else saved
            ahead = s("orders_ahead", None if s.loading else ahead)
        if s.loading:
            self._check(position, epoch, order, ahead)
        if hasattr(self.order_sampler, "serialize"):
            self.order_sampler.serialize(s["order_sampler"])
        if s.loading:
            self._drawn = [] if ahead is None else [np.array(row) for row in ahead]
            self._place = Place(position, epoch, is_new_epoch, before, order)

    def _check(self, position, epoch, order, ahead):
        orders = [] if order is None else [order, *([] if ahead is None else ahead)]
        if not (
            isinstance(position, int)
            and isinstance(epoch, int)
            and 0 <= position < max(self._size, 1)
            and epoch >= 0
            and all(_is_order(x, self._size, len(self.dataset)) for x in orders)
        ):
            raise SnapshotError(
                f"{type(self).__name__}: the snapshot's position {position}, epoch "
                f"{epoch} or order do not belong to a dataset of {len(self.dataset)} "
                "examples"
            )


def read_examples(dataset, indices):
    """Return a list of examples; a dataset must not say that the iterator is over."""
    try:
        return [dataset[i] for i in indices]
    except StopIteration as error:
        raise RuntimeError(
            f"the dataset, a {type(dataset).__name__}, raised StopIteration for one of "
            f"the examples {indices[:10]}, which would pass for the end of the data. "
            "Let it return an example for each number below its length."
        ) from error


def _part(order, start, stop):
    return np.arange(start, stop) if order is None else order[start:stop]


def _is_order(order, size, limit):
    return (
        order.shape == (size,)
        and order.dtype.kind in "iu"
        and (size == 0 or (order.min() >= 0 and order.max() < limit))
    )
