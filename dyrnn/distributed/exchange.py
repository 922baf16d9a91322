"""Gradients of several processes become one, between backward and the hooks.

A row of numbers from each process comes first: its weight, whether its loss was finite,
whether it was told to stop, the sums behind what it reported, and how many rows each
sparse gradient has. All that is decided, is decided by that table, which is the same
everywhere. Then the gradients follow: dense ones are added up where they lie, and those
of embeddings go as rows, where that is less.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import zlib
from typing import Any

import numpy as np

from dyrnn import backend
from dyrnn.distributed.communicator import Communicator
from dyrnn.distributed.compression import Largest
from dyrnn.engine.gradients import Rows
from dyrnn.errors import NonFiniteError
from dyrnn.optimizers.optimizer import Optimizer
from dyrnn.reporter import (
    DictSummary,
    Observation,
    Summary,
    get_current_reporter,
    means_of,
    read_scalars,
)

_NOTHING, _DENSE = -2.0, -1.0  # in place of a number of rows
_SLOTS = 16  # values that are reported, without a message of their own
_WEIGHTS = 4  # of the losses in a sum, different ones
_COLUMNS = ("terms", "refuses", "signal", "time", "digest", "keys", "mean", "count")
_AT = {name: i for i, name in enumerate(_COLUMNS, _WEIGHTS)}
_VALUES = _WEIGHTS + len(_COLUMNS)
_ROWS = _VALUES + 2 * _SLOTS


class Exchange:
    """What an `Optimizer.exchange` is: the mean of gradients over all processes.

    The gradient of each process counts as its ``weights`` say, so that the mean is over
    labels, not over processes; with None, gradients are added up.

    Parameters
    ----------
    communicator : Communicator
    check_every : int
        After how many exchanges the parameters are compared, by a hash; 1: before each.
    largest : float, optional
        For slow networks: the share of the values of a dense gradient that are sent,
        the largest ones; the others are added to the next gradient.

    Attributes
    ----------
    weights : list of float, or None
        The labels of this process's loss, or of each of the losses that it is the sum
        of; to be set before each update by a loop that counts labels itself.
    mean, count : float
        The loss, as a mean, and its labels: of this process before, and of all after an
        exchange.
    signal : int
        The number of a signal that this process got, or 0; of any after an exchange.
    time : float
        The first process's clock at the last exchange.
    """

    def __init__(
        self,
        communicator: Communicator,
        check_every: int = 100,
        largest: float | None = None,
    ) -> None:
        self.communicator = communicator
        self.largest = None if largest is None else Largest(largest)
        self.check_every = check_every
        self.weights: Any = [1.0]
        self.mean: Any = math.nan
        self.count: Any = 0
        self.signal = 0
        self.time = 0.0
        self.iteration = 0
        self.done: tuple | None = None  # the optimizer, and its ``t`` at the exchange
        self._agreed: dict[Optimizer, list] = {}
        self._exchanges = 0
        self._clock: Any = None
        self._reduced: tuple = (None, {})  # an observation, and its values of all

    def __call__(self, optimizer: Optimizer) -> None:
        """Give the optimizer's parameters the gradients over all processes."""
        params = self._params(optimizer)
        row = self._row(len(params))
        frozen = {path for path, _ in params}
        frozen -= {path for path, _ in optimizer.target.namedparams(only_updated=True)}
        for i, (path, param) in enumerate(params):
            if param.total is not None and path not in frozen:
                gradient = param.total.settled()[0]
                is_sparse = isinstance(gradient, Rows)
                row[_ROWS + i] = len(gradient.ids) if is_sparse else _DENSE
        observation = self._observation()
        keys = self._fill(row, observation)
        if self._exchanges % self.check_every == 0:
            row[_AT["digest"]] = _number(_digest(params))
        self._exchanges += 1
        table = self._decide(row, params)
        self._reduce(table, observation, keys)
        factor, rate = self._share(table)
        self._add_up(optimizer, params, table[:, _ROWS:], factor, rate)
        self.done = optimizer, optimizer.t

    def refuse(self, optimizer: Optimizer, problem: str) -> None:
        """Tell the others, in place of an exchange, that the loss is not finite."""
        row = self._row(len(self._params(optimizer)))
        row[_AT["refuses"]] = 1
        self._decide(row, [], problem)

    def set_clock(self, clock: Any) -> None:
        """Let ``time`` be that of the first process's clock."""
        self._clock = clock
        self.time = self.communicator.broadcast_object(clock(), "the start")

    @property
    def _where(self):
        return f"the exchange of update {self.iteration}"

    def _row(self, params):
        row = np.full(_ROWS + params, np.nan)
        row[_ROWS:] = _NOTHING
        row[_AT["refuses"]] = 0
        row[_AT["signal"]] = self.signal
        row[_AT["time"]] = 0.0 if self._clock is None else self._clock()
        row[_AT["digest"]] = -1
        return row

    def _params(self, optimizer):
        """Return (path, parameter) of all parameters; the first time, compare them."""
        params = list(optimizer.target.namedparams())
        here = [(path, _kind(param)) for path, param in params]
        if self._agreed.get(optimizer) != here:
            here = self._agree(params, here)
            self._agreed[optimizer] = here
        return params

    def _agree(self, params, here):
        """Refuse models that differ; give values to parameters that wait for them."""
        everywhere = self.communicator.allgather_object(here, self._where)
        paths = [[path for path, _ in each] for each in everywhere]
        for rank, each in enumerate(paths):
            if each != paths[0]:
                differing = sorted({*each} ^ {*paths[0]}) or each
                raise _common(
                    ValueError(
                        f"the model of rank {rank} has other parameters than that of "
                        f"rank 0: {', '.join(differing[:5])}"
                    )
                )
        kinds = []
        for i, (path, param) in enumerate(params):
            found = [each[i][1] for each in everywhere]
            known = [kind for kind in found if kind is not None]
            if len(set(known)) > 1:
                raise _common(
                    ValueError(
                        f"parameter {path} has shape and dtype {found[0]} on rank 0, "
                        f"but there are {', '.join(map(str, sorted({*known})))}"
                    )
                )
            kinds.append((path, known[0] if known else None))
            if known and None in found:
                self._initialize(param, known[0], found)
        return kinds

    def _initialize(self, param, kind, found):
        """Give a parameter the others' values, where no example came yet."""
        if not param.is_initialized:
            param.initialize(kind[0])
        first = next(r for r, each in enumerate(found) if each is not None)
        everywhere = self.communicator.allgather_object(
            backend.to_cpu(param.array) if self.communicator.rank == first else None,
            self._where,
        )
        param.array[...] = param.device.send(everywhere[first])

    def _observation(self):
        reporter = get_current_reporter()
        return Observation() if reporter is None else reporter.observation

    def _fill(self, row, observation):
        """Write the weight and what was reported; return the keys of the latter."""
        weights = getattr(observation, "weights", {})
        if self._reduced[0] is not observation:
            self._reduced = observation, {}
        known = self._reduced[1]
        keys = sorted(
            key
            for key, value in observation.items()
            if _is_number(value) and known.get(key) is not value
        )
        pairs = [(observation[key], weights.get(key, 1.0)) for key in keys]
        own = [math.inf] if self.weights is None else list(self.weights)
        numbers = [*own, self.mean, self.count]
        numbers += [number for pair in pairs for number in pair]
        numbers = read_scalars(numbers)
        row[_AT["mean"]], row[_AT["count"]] = numbers[len(own) : len(own) + 2]
        numbers, own = numbers[len(own) + 2 :], numbers[: len(own)]
        different = list(dict.fromkeys(own))
        terms = " ".join(str(different.index(weight)) for weight in own)
        row[_AT["terms"]] = zlib.crc32(terms.encode())
        if len(different) <= _WEIGHTS:
            row[:_WEIGHTS] = [*different, *different[:1] * _WEIGHTS][:_WEIGHTS]
        parts = getattr(observation, "parts", {})
        is_many = len(keys) > _SLOTS or any(key in parts for key in keys)
        text = "\n".join(keys).encode()
        row[_AT["keys"]] = -1 if is_many else zlib.crc32(text)
        if not is_many:
            row[_VALUES : _VALUES + 2 * len(keys)] = numbers
        return keys

    def _decide(self, row, params, problem=None):
        """Exchange the rows; raise on all processes what one of them has found."""
        table = self.communicator.allgather(row, self._where)
        self.time = float(table[0, _AT["time"]])
        self.signal = int(table[:, _AT["signal"]].max())
        if table[:, _AT["refuses"]].any():
            problems = self.communicator.allgather_object(problem, self._where)
            found = [f"rank {r}: {text}" for r, text in enumerate(problems) if text]
            raise _common(NonFiniteError("; ".join(found)))
        if len(set(table[:, _AT["digest"]])) > 1:
            self._tell_difference(params)
        return table

    def _tell_difference(self, params):
        digests = self.communicator.allgather_object(
            [(path, _digest([(path, param)])) for path, param in params], self._where
        )
        found = [
            f"{path} on rank {rank}"
            for rank, each in enumerate(digests)
            for (path, digest), (_, first) in zip(each, digests[0], strict=True)
            if digest != first
        ]
        raise _common(
            RuntimeError(
                f"before update {self.iteration}, parameters differ from those of rank "
                f"0: {', '.join(found[:5])}. All processes must begin with the same "
                "model, and change it by the optimizer only"
            )
        )

    def _share(self, table):
        """Return the factor of this process's gradients, and that of their sum."""
        weights = table[:, :_WEIGHTS]
        if np.isnan(weights).any():
            raise _common(
                ValueError(
                    "the loss does not say over how many labels it is the mean, by "
                    "which processes are weighed: it was computed from sums, or is the "
                    f"sum of more than {_WEIGHTS} with different labels. Say so, "
                    "loss.count = n, or return F.mean(losses)"
                )
            )
        is_sum = np.isinf(weights)
        if is_sum.any():
            if not (is_sum | (weights == 0)).all():
                raise _common(
                    ValueError(
                        "the loss is a sum in one process and a mean in another one"
                    )
                )
            return None, 1.0
        totals = weights.sum(axis=0)
        shares = weights / (totals + (totals == 0))
        terms = table[weights.any(axis=1), _AT["terms"]]
        if np.ptp(shares, axis=1).max() > 1e-9 or len(set(terms)) > 1:
            raise _common(
                ValueError(
                    "the loss is a sum of losses with labels of their own, of which "
                    f"the processes have different shares ({_percent(shares)}), so "
                    "that no weight fits all of them. Let batches have the same "
                    "numbers of labels, or set loss.count to what the sum is to be "
                    "weighed by"
                )
            )
        if (weights == weights[0]).all() and (weights[0] > 0).all():
            return None, 1 / len(weights)
        return float(shares[self.communicator.rank, 0]), 1.0

    def _reduce(self, table, observation, keys):
        """Make what was reported that of all processes."""
        losses = table[:, [_AT["mean"], _AT["count"]]]
        is_sum = bool(np.isinf(table[:, 0]).any())
        self.mean, self.count = _whole(losses, is_sum)
        found = table[:, _AT["keys"]]
        if (found == found[0]).all() and found[0] >= 0:
            columns = table[:, _VALUES:_ROWS].reshape(len(table), _SLOTS, 2)
            each = [Observation() for _ in table]
            for i, key in enumerate(keys):
                for rank, found_there in enumerate(each):
                    found_there[key], found_there.weights[key] = columns[rank, i]
        else:
            mine = DictSummary()
            chosen = Observation({key: observation[key] for key in keys})
            chosen.weights = getattr(observation, "weights", {})
            chosen.parts = getattr(observation, "parts", {})
            mine.add(chosen)
            each = self.communicator.allgather_object(mine.observation(), self._where)
        means = means_of(each)
        for key in means if is_sum else ():
            # A loss that is a sum is reported as such.
            values = [there.get(key, math.nan) for there in each]
            if np.array_equal(values, losses[:, 0], equal_nan=True):
                means[key] = self.mean
        if isinstance(observation, Observation):
            means.add_to(observation)
        else:
            observation.update(means)
        self._reduced[1].update(means)

    def _add_up(self, optimizer, params, table, factor, rate):
        if self.largest is not None and factor is None:
            factor, rate = rate, 1.0  # what is kept must be weighed already
        dense, sparse = [], []
        for i, (_, param) in enumerate(params):
            kinds = table[:, i]
            if (kinds == _NOTHING).all():
                continue
            counts = np.maximum(kinds, 0).astype(np.int64)
            row = param.size // max(len(param.array), 1) * param.dtype.itemsize + 8
            is_less = counts.sum() * row < param.size * param.dtype.itemsize
            if (kinds != _DENSE).all() and is_less:
                sparse.append((param, counts))
            else:
                dense.append(param)
        arrays = [_scaled(_dense(param), factor) for param in dense]
        persistent = _persistent(optimizer.target)
        total = rate if factor is None and rate != 1.0 else None
        share = 1 / self.communicator.size if factor is None else factor
        for array in persistent:
            _scaled(array, share)
        whole = self._add_up_largest(dense, arrays)
        self.communicator.add_up(whole + persistent, self._where)
        for param, array in zip(dense, arrays, strict=True):
            param.total.replace(array)
        for param, counts in sparse:
            self._gather(param, counts, factor)
        if total is not None:
            for param in [*dense, *(param for param, _ in sparse)]:
                param.total.scale(total)

    def _add_up_largest(self, params, arrays):
        """Add up the large arrays in part, if so wanted; return the others."""
        whole = []
        for param, array in zip(params, arrays, strict=True):
            if self.largest is not None and self.largest.takes(param):
                self.largest.add_up(param, array, self.communicator, self._where)
            else:
                whole.append(array)
        return whole

    def _gather(self, param, counts, factor):
        if param.total is None:
            ids, values = np.empty(0, np.int64), np.empty((0, param.shape[1]))
            values = values.astype(param.dtype)
        else:
            rows = param.total.value()
            ids, values = rows.ids, _scaled(rows.values, factor)
        ids, values = self.communicator.gather_rows(ids, values, counts, self._where)
        ids, places = np.unique(ids, return_inverse=True)
        rows = np.zeros((len(ids), param.shape[1]), param.dtype)
        bounds = [0, *counts.cumsum()]
        for start, stop in itertools.pairwise(bounds):  # ids are unique in each
            rows[places[start:stop]] += values[start:stop]
        total = Rows(ids, rows, param.shape, is_unique=True)
        if param.total is None:
            param.grad = total.dense()
        param.total.replace(total)


def _common(error):
    """Mark an error that all processes raise alike, so that one line tells of it."""
    error.is_common = True
    return error


def _is_number(value):
    if hasattr(value, "shape"):
        return value.shape == () and value.dtype.kind in "buif"
    return isinstance(value, int | float)


def _kind(param):
    return (param.shape, str(param.dtype)) if param.is_initialized else None


def _dense(param):
    """Return the gradient of a parameter, an array to write to; zeros without one."""
    if param.total is None:
        param.grad = param.xp.zeros_like(param.array)
    return param.total.dense()


def _scaled(array, factor):
    if factor is not None:
        if factor == 0:
            array[...] = 0  # the mean over no label may be NaN
        else:
            array *= array.dtype.type(factor)
    return array


def _persistent(model):
    """Return the running statistics, of which all processes take the mean."""
    values = [
        getattr(link, name) for link in model.links() for name in link._persistent
    ]
    return [v for v in values if backend.is_array(v) and v.dtype.kind == "f"]


def _digest(params):
    digest = hashlib.blake2b(digest_size=6)
    for _, param in params:
        if param.is_initialized:
            array = np.ascontiguousarray(backend.to_cpu(param.array))
            digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.digest()


def _number(digest):
    return float(int.from_bytes(digest, "big"))  # of 48 bits: exact


def _percent(shares):
    return "; ".join(
        " and ".join(f"{share:.1%}" for share in sorted({*row})) for row in shares[:4]
    )


def _whole(pairs, is_sum):
    """Return the weighted mean of values, or their sum, and the sum of weights."""
    summary, total = Summary(), 0.0
    for value, weight in pairs:
        summary.add(float(value), float(weight))
        total += float(weight)
    if is_sum:
        return math.fsum(value for value, weight in pairs if weight), total
    return summary.compute_mean(), total
