"""A trainer whose updates, evaluations and snapshots are shared among processes.

Every process runs the whole loop on its part of each batch: iterators move on by whole
batches everywhere, parameters and observations are the same everywhere, and so all
triggers fire alike. What differs is the carried state, rows of the batch, and what is
drawn in a forward pass; a snapshot holds both of all processes. Files are the first
process's: the others have an output directory that is thrown away.
"""

from __future__ import annotations

import atexit
import contextlib
import copy
import math
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from dyrnn import backend, random
from dyrnn.distributed.communicator import Communicator
from dyrnn.distributed.exchange import Exchange
from dyrnn.distributed.guard import is_common_error
from dyrnn.errors import NonFiniteError, SnapshotError
from dyrnn.optimizers.optimizer import Optimizer
from dyrnn.reporter import DictSummary
from dyrnn.serializers import newest_valid
from dyrnn.serializers.protocol import Keeper, Restorer, Serializer
from dyrnn.training import Trainer, TrainingInterrupted
from dyrnn.training.signals import SignalWatch
from dyrnn.training.trainer import tell_processes, tell_unsent

_COMMON = "initializer"  # the stream that draws the same everywhere
_UNKNOWN = object()


class NoExamples(Exception):
    """A batch has none for this process."""


class Part:
    """Which rows of a batch are this process's: an `Iterator.part`."""

    def __init__(self, communicator: Communicator) -> None:
        self._rank, self._size = communicator.rank, communicator.size
        self.rows: int | None = None  # handed out last

    def __call__(self, rows: int) -> slice:
        start = -(-rows * self._rank // self._size)
        stop = -(-rows * (self._rank + 1) // self._size)
        self.rows = stop - start
        return slice(start, stop)


def shard(iterator: Any, communicator: Communicator) -> Any:
    """Let an iterator hand out this process's part of each batch, and return it.

    The parts of all processes are the batch: none twice, none left out, their sizes
    differ by one at most. The position, the order and epochs are those of the whole, so
    all processes make the same iterator, shuffled by the same seed.

    Raises
    ------
    TypeError
        For an iterator that does not obey ``part``, see `dyrnn.iterators.Iterator`.
    ValueError
        If its batches go on from each other and have fewer rows than there are
        processes.
    """
    if not hasattr(iterator, "part"):
        raise TypeError(
            f"a {type(iterator).__name__} has no `part`, by which processes share its "
            "batches: derive it from dyrnn.iterators.Iterator, and hand out the rows "
            "self.part(len(batch)) of each batch, unless self.part is None"
        )
    rows = getattr(iterator, "batch_size", None)
    if iterator.goes_on and rows is not None and rows < communicator.size:
        raise ValueError(
            f"the batches of a {type(iterator).__name__} are {rows} tracks, too few "
            f"for {communicator.size} processes: use a batch size of at least "
            f"{communicator.size}, or fewer processes"
        )
    if communicator.size > 1:
        iterator.part = Part(communicator)
    return iterator


def distribute_optimizer(
    optimizer: Optimizer,
    communicator: Communicator,
    check_every: int = 100,
    largest: float | None = None,
) -> Exchange:
    """Let an optimizer's updates be by the gradients of all processes.

    For loops of one's own; `distribute` does it for a trainer's. The parameters become
    those of the first process.
    """
    _broadcast(optimizer.target, communicator)
    exchange = Exchange(communicator, check_every, largest)
    if communicator.size > 1:
        optimizer.exchange = exchange
    return exchange


def distribute(
    trainer: Trainer,
    communicator: Communicator,
    check_every: int = 100,
    largest: float | None = None,
) -> Trainer:
    """Share a trainer's work among all processes, and return it.

    To be called by every process, after the random seed is set and before a snapshot
    is loaded; extensions may come later.

    Parameters
    ----------
    trainer : Trainer
        With an iterator over the whole data, made alike everywhere.
    communicator : Communicator
    check_every : int
        After how many updates it is checked that the parameters are the same bytes.
    largest : float, optional
        For slow networks: the share of the values of each large gradient that are sent
        in an update, the largest ones. The others wait, and are added to the next
        gradient; a snapshot has them. The update is then not that of one process.
    """
    if communicator.size > 1:
        World(trainer, communicator, check_every, largest)
    return trainer


class World:
    """What a trainer that is shared among processes asks for; see `distribute`."""

    def __init__(
        self,
        trainer: Trainer,
        communicator: Communicator,
        check_every: int,
        largest: float | None = None,
    ) -> None:
        self.communicator = communicator
        self.is_writer = communicator.rank == 0
        self._trainer, self._updater = trainer, trainer.updater
        self._is_alone = False  # after an error that the others do not have
        self._streams = _OwnStreams(communicator.rank)
        self._apart = contextlib.ExitStack()
        self._is_reduced = False
        self._copies: list[str] = []  # of snapshots
        self.exchange = Exchange(communicator, check_every, largest)
        for optimizer in self._updater.get_all_optimizers().values():
            _broadcast(optimizer.target, communicator)
            optimizer.exchange = self._exchange
        for name, iterator in self._updater.get_all_iterators().items():
            shard(iterator, communicator)
            if name == "main":
                _raise_without_examples(iterator)
        self._updater.scope = self._update
        self._updater.without_examples = (NoExamples,)
        self.exchange.set_clock(time.monotonic)
        trainer.world = self
        trainer.clock = lambda: self.exchange.time
        trainer.signals = self._signals = _CommonSignals()
        if not self.is_writer:
            trainer.out = tempfile.mkdtemp(prefix=f"dyrnn-rank-{communicator.rank}-")
            atexit.register(shutil.rmtree, trainer.out, ignore_errors=True)
        self._out = os.path.abspath(trainer.out)

    # Updates

    @contextlib.contextmanager
    def _update(self):
        """Compute one update: what ends it, ends it on all processes."""
        updater, guard = self._updater, self.communicator.guard
        self.exchange.iteration = updater.iteration + 1
        self.exchange.done = None
        self._is_reduced = False
        updater.loss_weights = _UNKNOWN
        guard.begin_update(updater.iteration + 1)
        with self._apart:
            self._apart.enter_context(self._streams)
            try:
                yield
            except NonFiniteError as error:
                self._refuse(error)
                raise
            except NoExamples:
                self._take_part()
        guard.end_update()

    def _refuse(self, error):
        """Tell the others of an error, unless they have the same."""
        optimizer, t = self.exchange.done or (None, None)
        if optimizer is not None and optimizer.t == t:  # by the sum of all gradients
            error.is_common = True
        if not getattr(error, "is_common", False):
            optimizers = list(self._updater.get_all_optimizers().values())
            following = optimizers.index(optimizer) + 1 if optimizer else 0
            self.exchange.refuse(optimizers[following % len(optimizers)], str(error))

    def _take_part(self):
        """Update as the others do, without an example."""
        updater = self._updater
        updater.mean_loss, updater.label_count, updater.loss_weights = math.nan, 0, [0]
        for optimizer in updater.get_all_optimizers().values():
            optimizer.target.cleargrads()
        for optimizer in updater.get_all_optimizers().values():
            optimizer.update()

    def _exchange(self, optimizer):
        updater, exchange = self._updater, self.exchange
        self._apart.close()  # hooks draw the same everywhere
        exchange.weights = updater.loss_weights
        if exchange.weights is _UNKNOWN:  # an update_core of the user's
            exchange.weights = [updater.get_iterator().part.rows]
        is_first = not self._is_reduced
        exchange.mean = updater.mean_loss if is_first else math.nan
        exchange.count = updater.label_count if is_first else 0
        exchange.signal = self._signals.noted or 0
        exchange(optimizer)
        self._signals.agreed = exchange.signal or None
        if is_first:
            updater.mean_loss, updater.label_count = exchange.mean, exchange.count
            self._is_reduced = True

    # Evaluations

    def announce(self, what: str) -> contextlib.AbstractContextManager:
        """Say that what is done in the block may take long."""
        return self.communicator.announce(what)

    def own_batches(self, batches: Any) -> Iterator[Any]:
        """Yield this process's part of each batch of a pass over the data."""
        if not hasattr(batches, "part"):  # the user's; the first process does it all
            yield from batches if self.is_writer else ()
            return
        batches.part = part = Part(self.communicator)
        try:
            for batch in batches:
                if part.rows is None:
                    raise _disobedience(batches)
                if _rows(batches, batch):
                    yield batch
        finally:
            batches.part = None

    def merge(self, summary: DictSummary) -> DictSummary:
        """Return the summary of all processes' values."""
        mine = summary.observation()
        merged = DictSummary()
        for each in self.communicator.allgather_object(mine, "an evaluation"):
            merged.add(each)
        return merged

    def add_up(self, sums: list[np.ndarray]) -> None:
        """Add the sums of all other processes to each of these arrays."""
        found = self.communicator.allgather_object(sums, "the metrics of an evaluation")
        for mine, *all_of_it in zip(sums, *found, strict=True):
            mine[...] = np.sum(all_of_it, axis=0)

    # Snapshots

    def learn_of(self, error: BaseException) -> None:
        """Let what is saved after an error that the others do not have be alone."""
        is_common = isinstance(error, TrainingInterrupted) or is_common_error(error)
        self._is_alone = not is_common

    def newest_snapshot(self, pattern: str) -> str | None:
        """Return the newest whole snapshot of the first process; others get a copy."""
        with self.announce("the search for a snapshot"):
            found = newest_valid(self._out, pattern) if self.is_writer else None
            return self.own_copy(None if found is None else found.path)

    def own_copy(self, path: str | None) -> str | None:
        """Return the path of the first process's file, or of a copy of it."""
        where = "the reading of a snapshot"
        path = self.communicator.broadcast_object(path, where)
        if path is None:
            return None
        content = b""
        if self.is_writer:
            with open(path, "rb") as file:
                content = file.read()
        content = self.communicator.broadcast_bytes(content, where)
        if not self.is_writer:
            path = os.path.join(self._out, os.path.basename(path))
            with open(path, "wb") as file:
                file.write(content)
            self._copies.append(path)
        return path

    def as_first_has_it(self, value: Any) -> Any:
        """Return what the first process has for a value."""
        return self.communicator.broadcast_object(value, "a snapshot")

    def _own_states(self):
        owners: Any = {"trainer": self._trainer, "updater": self._updater}
        return {name: owner.own_state for name, owner in owners.items()}

    def serializer(self, s: Serializer) -> Serializer:
        """Return a serializer that holds all processes' carried state."""
        if self._is_alone:
            return s
        gathering = _Gathering(s, self.communicator)
        if s.loading:
            saved = s("processes", 1) if s.has("processes") else 1
            gathering.has_other_threads = saved != self.communicator.size
        return gathering

    def serialize(self, s: Serializer) -> None:
        """Save or load the streams of all processes, and what their programs keep."""
        if s.loading:
            saved = s("processes", 1) if s.has("processes") else 1
            states = s("streams_of_others", None) if saved != 1 else []
            tell_processes(saved, self.communicator.size)
            if saved == self.communicator.size and not self.is_writer:
                state = states[self.communicator.rank - 1]
                own = {k: v.encode() for k, v in state.pop("own", {}).items()}
                for name, each in self._own_states().items():
                    each.serialize(Restorer(own), name)
                self._streams.serialize(Restorer(state), state)
            self._load_unsent(s, saved)
            while self._copies:
                with contextlib.suppress(OSError):
                    os.unlink(self._copies.pop())
            return
        mine = Keeper()
        self._streams.serialize(mine)
        kept = Keeper()
        for name, each in self._own_states().items():
            each.serialize(kept, name)
        mine.kept["own"] = {k: v.tobytes().decode() for k, v in kept.kept.items()}
        everyone = [mine.kept]
        if not self._is_alone:
            everyone = self.communicator.allgather_object(mine.kept, "a snapshot")
        s("processes", len(everyone))
        s("streams_of_others", everyone[1:])
        self._save_unsent(s)

    def _params(self):
        """Yield a name and the parameter, of all optimizers."""
        for name, optimizer in self._updater.get_all_optimizers().items():
            for path, param in optimizer.target.namedparams():
                yield name + path, param

    def _save_unsent(self, s):
        """Save the parts of gradients that processes have not sent yet, by rank."""
        largest = self.exchange.largest
        if largest is None or self._is_alone:
            return
        kept = [
            (n, largest.unsent[p]) for n, p in self._params() if p in largest.unsent
        ]
        if not kept:
            return
        mine = np.concatenate([array for _, array in kept])
        s("unsent_of", [name for name, _ in kept])
        s("unsent", np.stack(self.communicator.allgather_object(mine, "a snapshot")))

    def _load_unsent(self, s, saved):
        """Load this process's parts; those of other processes go to the first one."""
        largest = self.exchange.largest
        if largest is not None:
            largest.unsent.clear()
        names = s("unsent_of", []) if s.has("unsent_of") else []
        if not names:
            return
        parts = s("unsent", None)
        if largest is None:
            tell_unsent()
            return
        params = dict(self._params())
        expected = saved, sum(params[n].size if n in params else 0 for n in names)
        if parts.shape != expected:
            raise SnapshotError(
                "what was not sent of gradients has the shape "
                f"{parts.shape} in the file, but must be {expected}, for the processes "
                f"and the sizes of {', '.join(names[:5])}"
            )
        rank = self.communicator.rank
        if saved == self.communicator.size:
            mine = parts[rank]
        else:
            mine = parts.sum(axis=0) * (rank == 0)
        ends = np.cumsum([params[name].size for name in names])
        for name, array in zip(names, np.split(mine, ends[:-1]), strict=True):
            largest.unsent[params[name]] = array.astype(params[name].dtype)


class _Gathering(Serializer):
    """Saves carried state as rows of the whole batch, and loads this process's rows."""

    def __init__(self, inner: Serializer, communicator: Communicator) -> None:
        self._inner, self._communicator = inner, communicator
        self.loading = inner.loading
        self.has_other_threads = False
        self._is_carried = False

    def __getitem__(self, key):
        part = copy.copy(self)
        part._inner = self._inner[key]
        part._is_carried = self._is_carried or key.startswith("carried:")
        return part

    def has(self, key):
        return self._inner.has(key)

    def __call__(self, key, value):
        if not self._is_carried:
            found = self._inner(key, value)
            if key == "identity" and self.has_other_threads:
                found["threads"] = value["threads"]  # `tell_processes` warns
            return found
        if not self.loading:
            self._inner(key, self._gather(key, value))
            return value
        rows = self._inner(key, value)
        if backend.is_array(rows) and rows.ndim:
            rows = rows[Part(self._communicator)(len(rows))].copy()
        return rows

    def _gather(self, key, value):
        value = None if value is None else backend.to_cpu(value)
        parts = self._communicator.allgather_object(value, "a snapshot")
        parts = [part for part in parts if part is not None]
        if not parts:
            return None
        shapes = {part.shape[1:] for part in parts if part.ndim}
        counts = [len(part) if part.ndim else 0 for part in parts]
        total = sum(counts)
        size = self._communicator.size
        fair = [-(-total * (r + 1) // size) + (-total * r // size) for r in range(size)]
        if len(shapes) != 1 or counts != [rows for rows in fair if rows]:
            raise SnapshotError(
                f"{key} is carried over time, but its arrays, of shapes "
                f"{', '.join(str(part.shape) for part in parts)}, are not the rows of "
                "the processes' parts of a batch; only such can be in a snapshot of a "
                "training that is shared among processes"
            )
        return np.concatenate(parts)


class _OwnStreams:
    """A context in which a process draws numbers of its own, by its rank.

    The first one draws what a single process does; weights are the same everywhere.
    """

    def __init__(self, rank: int) -> None:
        self._rank = rank
        self._streams: Any = None

    def _made(self):
        if self._streams is None:
            seed = (random.get_seed() + (self._rank << 64)) % (1 << 96)
            self._streams = random.Streams(seed)
        return self._streams

    def __enter__(self):
        if self._rank:
            common = random.stream(_COMMON)
            self._made().streams[_COMMON] = common
            self._streams.__enter__()

    def __exit__(self, *exception):
        if self._rank:
            self._streams.__exit__(*exception)

    def serialize(self, s: Serializer, names: Any = None) -> None:
        """Save or load the streams, which ``names`` tells of as ``NAME/state``."""
        if self._rank == 0:
            return
        streams = self._made().streams
        for path in names or ():
            name = path.rpartition("/")[0]
            streams.setdefault(name, random.Stream(name, self._streams.number))
        for name, stream in streams.items():
            if name != _COMMON:
                stream.serialize(s[name])


class _CommonSignals(SignalWatch):
    """Signals that end training once all processes know of them.

    Attributes
    ----------
    noted, agreed : int or None
        What this process got, and what all have agreed on.
    """

    noted: int | None = None
    agreed: int | None = None

    @property
    def received(self):
        return self.agreed

    @received.setter
    def received(self, value):
        self.noted = value
        if value is None:
            self.agreed = None


def _raise_without_examples(iterator):
    """Let ``next`` and ``next_window`` raise where this process has no row."""
    for name in ("next", "next_window"):
        read = getattr(iterator, name, None)
        if read is not None:
            setattr(iterator, name, _checked(iterator, read))


def _checked(iterator, read):
    def checked(*steps):
        batch = read(*steps)
        if iterator.part.rows is None:
            raise _disobedience(iterator)
        if not _rows(iterator, batch):
            raise NoExamples
        return batch

    return checked


def _rows(iterator, batch):
    is_window = isinstance(batch, tuple) and iterator.goes_on
    return batch[0].shape[1] if is_window else len(batch)


def _disobedience(iterator):
    return TypeError(
        f"a {type(iterator).__name__} hands out whole batches, so that all processes "
        "would do the same: let it hand out the rows self.part(len(batch)) of each"
    )


def _broadcast(model, communicator):
    """Give all processes the first one's parameters and running statistics."""
    where = "the start"
    names = [path for path, p in model.namedparams() if p.is_initialized]
    if communicator.broadcast_object(names, where) != names:
        return  # the first exchange says what differs
    for _, param in model.namedparams(include_uninit=False):
        communicator.broadcast_array(param.array, where)
