"""Sliding windows over series: what is known at a time, and what is to be foretold."""

import operator
from typing import Any

import numpy as np

from dyrnn.arguments import check_whole
from dyrnn.datasets.convert import time_major
from dyrnn.datasets.dataset import Dataset
from dyrnn.errors import ShapeError
from dyrnn.typing import Array


class SeriesExample(tuple):
    """One window of a `SeriesWindows`; a batch of them is made time-major.

    `concat_examples`, the default of all updaters and of `Evaluator`, asks an example's
    ``collate`` where it has one.
    """

    @staticmethod
    def collate(batch, device=None):
        """Return the parts (T, B, ...) of examples with parts (T, ...)."""
        parts = zip(*batch, strict=True)
        return tuple(time_major(list(part), device) for part in parts)


class SeriesWindows(Dataset):
    """Windows of a series, and the values that follow each of them.

    An example has these parts, in this order, as a batch has, with the batch as their
    second axis: the window ``x``; with ``covariates``, those of the target's steps; the
    target ``t``; and with ``gaps``, its ``weights``.

    Parameters
    ----------
    series : array of float, (N,) or (N, F)
        What the model reads, one row a time step; all parts have its type.
    steps : int
        Steps T of a window.
    horizon : int
        The target is the values of the so many steps S that follow the window.
    stride : int
        How many steps later the next window begins.
    targets : array of float, (N,) or (N, K), optional
        What is to be foretold, by default the series itself.
    covariates : array of float, (N, G), optional
        What is known ahead of time, such as the hour of the day: further columns of
        ``x``, and a part (S, G) of its own for the steps of the target.
    every_step : bool
        Whether the target is what follows each step of the window, not the window
        alone: T values, each ``horizon`` steps later than the step that is read.
    gaps : bool
        Whether values may be missing, as NaN. In ``x`` they are then 0, and further
        columns, as many as the series', are 1 where a value is there. In targets they
        are 0 with the weight 0, and windows whose targets are all missing are left out.

    Raises
    ------
    ValueError
        If no window fits, or values are missing (without ``gaps``) or infinite.

    Examples
    --------
    >>> windows = SeriesWindows(np.arange(7.0), steps=3, horizon=2, stride=2)
    >>> [part.ravel().tolist() for part in windows[1]]
    [[2.0, 3.0, 4.0], [5.0, 6.0]]
    >>> from dyrnn.datasets import concat_examples
    >>> [part.shape for part in concat_examples(windows[:])]
    [(3, 2, 1), (2, 2, 1)]
    """

    def __init__(
        self,
        series: Array,
        steps: int,
        horizon: int = 1,
        stride: int = 1,
        targets: Array | None = None,
        covariates: Array | None = None,
        every_step: bool = False,
        gaps: bool = False,
    ) -> None:
        given = {"steps": steps, "horizon": horizon, "stride": stride}
        for name, value in given.items():
            check_whole(f"SeriesWindows: {name}", value)
        self.steps, self.horizon, self.stride = map(
            operator.index, (steps, horizon, stride)
        )
        if min(self.steps, self.horizon, self.stride) < 1:
            raise ValueError(
                f"SeriesWindows: steps={steps}, horizon={horizon} and stride={stride} "
                "must be at least 1"
            )
        x = _columns("series", series, gaps)
        t = x
        if targets is not None:
            t = _columns("targets", targets, gaps).astype(x.dtype, copy=False)
        known = None
        if covariates is not None:
            known = _columns("covariates", covariates, False).astype(x.dtype)
        for name, array in (("targets", t), ("covariates", known)):
            if array is not None and len(array) != len(x):
                raise ShapeError(
                    f"SeriesWindows: the series has {len(x)} steps, but {name} has "
                    f"{len(array)}"
                )
        ends = np.arange(self.steps, len(x) - self.horizon + 1, self.stride)
        if not len(ends):
            raise ValueError(
                f"SeriesWindows: no window fits: {len(x)} steps, but a window of "
                f"{self.steps} and a horizon of {self.horizon} need "
                f"{self.steps + self.horizon}"
            )
        self.every_step = every_step
        self._weights = None
        if gaps:
            is_there = ~np.isnan(t)
            self._weights = is_there.astype(t.dtype)
            before = np.concatenate(([0], np.cumsum(is_there.any(axis=1))))
            start = self._target_start(ends)
            ends = ends[before[ends + self.horizon] > before[start]]
            if not len(ends):
                raise ValueError(
                    "SeriesWindows: all targets of all windows are missing"
                )
            x = np.concatenate([np.nan_to_num(x), ~np.isnan(x)], axis=1, dtype=x.dtype)
            t = np.nan_to_num(t)
        self.ends = ends
        self._targets, self._known = t, known
        if known is not None:
            x = np.concatenate([x, known], axis=1, dtype=x.dtype)
        self._x = x

    def __repr__(self):
        stride = f", {self.stride} steps apart" if self.stride > 1 else ""
        length = self.steps if self.every_step else self.horizon
        return (
            f"<SeriesWindows: {len(self)} windows ({self.steps}, {self._x.shape[1]})"
            f"{stride}, targets ({length}, {self._targets.shape[1]})>"
        )

    def _target_start(self, end):
        return end - self.steps + self.horizon if self.every_step else end

    def __len__(self):
        return len(self.ends)

    def get_example(self, i: int) -> Any:
        """Return window ``i``, which ends before step ``ends[i]`` of the series."""
        end = int(self.ends[i])
        place = slice(self._target_start(end), end + self.horizon)
        arrays = self._known, self._targets, self._weights
        parts = [array[place] for array in arrays if array is not None]
        return SeriesExample((self._x[end - self.steps : end], *parts))


def _columns(name, values, gaps):
    """Return values as an array (N, columns) of floats."""
    array = np.asarray(values)
    if array.dtype.kind not in "iufb" or array.ndim not in (1, 2):
        raise ShapeError(
            f"SeriesWindows: {name} has type {array.dtype} and shape {array.shape}; "
            "it must hold numbers, (N,) or (N, columns)"
        )
    if array.dtype.kind != "f":
        array = array.astype(np.float32)
    if np.isinf(array).any():
        raise ValueError(f"SeriesWindows: {name} holds infinite values")
    if not gaps and np.isnan(array).any():
        row, column = np.argwhere(np.isnan(array.reshape(len(array), -1)))[0]
        what = "" if name == "covariates" else ", or say gaps=True to mask them"
        raise ValueError(
            f"SeriesWindows: {name} has a missing value (NaN) in step {row}, column "
            f"{column}; fill it in{what}"
        )
    return array.reshape(len(array), -1)
