"""A model at work: in evaluation mode, without a graph, from any number of threads."""

import contextlib
import inspect
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from dyrnn import backend
from dyrnn.config import inference_mode
from dyrnn.engine.core import Variable, as_array
from dyrnn.errors import ShapeError
from dyrnn.link import Link
from dyrnn.links.recurrent_stacks import Bidirectional
from dyrnn.typing import Array


class Predictor:
    """Calls a model for its outputs: any thread may, and none disturbs another.

    Each call computes in evaluation mode and without a graph, with a copy of the model
    that shares its parameters and has a state of its own: training of the model goes
    on undisturbed, and is seen at once.

    Parameters
    ----------
    model : Link
    method : str
        The method that is called, by default the model itself.

    Examples
    --------
    >>> import dyrnn
    >>> import dyrnn.links as L
    >>> model = dyrnn.Sequential(L.LSTM(3, 4), L.Linear(4, 2))
    >>> predict = Predictor(model)
    >>> x = np.ones((10, 1, 3), np.float32)
    >>> y = predict(x)
    >>> y.shape
    (10, 1, 2)
    >>> first, state = predict.go_on(x[:6])
    >>> rest, state = predict.go_on(x[6:], state=state)
    >>> bool(abs(np.concatenate([first, rest]) - y).max() < 1e-6)
    True
    """

    def __init__(self, model: Link, method: str = "__call__") -> None:
        if not isinstance(model, Link):
            raise TypeError(f"Predictor takes a link, not a {type(model).__name__}")
        if not callable(getattr(model, method, None)):
            raise AttributeError(
                f"Predictor: {type(model).__name__} has no method {method!r}"
            )
        self.model = model
        self.method = method

    @contextlib.contextmanager
    def _copy(self, state=None):
        """Lend a copy of the model, in a fresh state or a given one."""
        copy = self.model.copy()
        copy.reset_state()
        if state is not None:
            _set_state(copy, state)
        with inference_mode():
            yield copy

    def _call(self, copy, *args, **kwargs):
        args = [copy.device.send(a) if backend.is_array(a) else a for a in args]
        return _arrays(getattr(copy, self.method)(*args, **kwargs))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Return the outputs for these arguments, as arrays of NumPy.

        The model begins in a fresh state.
        """
        with self._copy() as copy:
            return self._call(copy, *args, **kwargs)

    def go_on(
        self, *args: Any, state: dict | None = None, **kwargs: Any
    ) -> tuple[Any, dict]:
        """Return the outputs, and the state to go on from in another call.

        Parameters
        ----------
        state : dict, optional
            What a call returned; it is not changed. By default a fresh state.
        """
        with self._copy(state) as copy:
            return self._call(copy, *args, **kwargs), _state_of(copy)

    def series(self, x: Array, steps: int = 1000) -> Any:
        """Return the outputs of a long window, ``steps`` time steps at a time.

        The state is carried from piece to piece, so the result is that of one call,
        but memory is needed for one piece and the outputs only. It is for models whose
        outputs do not depend on later steps.

        Parameters
        ----------
        x : array, (T, ...)
        steps : int, at least 1

        Raises
        ------
        ValueError
            If the model reads backward, or resets its state itself.
        """
        if steps < 1:
            raise ValueError(f"Predictor.series: steps={steps} must be at least 1")
        for path, link in self.model.namedlinks():
            if isinstance(link, Bidirectional):
                raise ValueError(
                    f"Predictor.series: {path}, a {type(link).__name__}, reads from "
                    "the end, so that a series cannot be cut. Call the predictor with "
                    "all of it."
                )
        pieces = list(self.pieces(x[i : i + steps] for i in range(0, len(x), steps)))
        if not pieces:
            return self(x)
        if isinstance(pieces[0], tuple):
            return tuple(map(np.concatenate, zip(*pieces, strict=True)))
        return np.concatenate(pieces)

    def pieces(self, xs: Any) -> Iterator[Any]:
        """Yield the outputs of pieces of a series as they come, the state carried."""
        state: dict | None = None
        for x in xs:
            with self._copy(state) as copy:
                copy.reset_state = _refuse_reset
                y, state = self._call(copy, x), _state_of(copy)
            yield y

    def sequences(
        self,
        sequences: Sequence[Array],
        batch_size: int = 64,
        per_step: bool | None = None,
    ) -> list[Any]:
        """Return the output of each of many sequences, of any lengths.

        Those of similar length are computed together, as a window (T, B, ...): padded,
        if the model takes ``lengths`` after it, else of equal lengths only. Memory is
        needed for one batch and the outputs.

        Parameters
        ----------
        sequences : sequence of arrays (T_b, ...)
        batch_size : int, at least 1
        per_step : bool, optional
            Whether an output is (T, B, ...), not (B, ...); by default, its shape says.

        Returns
        -------
        list of arrays
            (T_b, ...) or (...), in the order of the sequences.
        """
        if batch_size < 1:
            raise ValueError(
                f"Predictor.sequences: batch_size={batch_size} must be at least 1"
            )
        name = "forward" if self.method == "__call__" else self.method
        found = getattr(self.model, name)
        takes_lengths = "lengths" in inspect.signature(found).parameters
        sequences = [
            backend.to_cpu(x) if backend.is_array(x) else np.asarray(x)
            for x in sequences
        ]
        order = sorted(range(len(sequences)), key=lambda i: -len(sequences[i]))
        results: list[Any] = [None] * len(sequences)
        while order:
            longest = len(sequences[order[0]])
            batch = [
                i
                for i in order[:batch_size]
                if takes_lengths or len(sequences[i]) == longest
            ]
            order = order[len(batch) :]
            first = sequences[batch[0]]
            x = np.zeros((longest, len(batch), *first.shape[1:]), first.dtype)
            for column, i in enumerate(batch):
                x[: len(sequences[i]), column] = sequences[i]
            lengths = np.array([len(sequences[i]) for i in batch], np.int32)
            y = self(x, lengths=lengths) if takes_lengths else self(x)
            is_by_step = _is_by_step(y, longest, len(batch), per_step)
            for column, i in enumerate(batch):
                n = lengths[column]
                results[i] = (y[:n, column] if is_by_step else y[column]).copy()
        return results


def _is_by_step(y, T, B, per_step):
    by_step = y.ndim > 1 and y.shape[:2] == (T, B)
    by_row = y.ndim > 0 and y.shape[0] == B
    if per_step is None and by_step and by_row:
        raise ShapeError(
            f"Predictor.sequences: an output of shape {y.shape} may be (T, B, ...) or "
            "(B, ...); say per_step=True or per_step=False"
        )
    if not (by_step if per_step or by_step else by_row):
        raise ShapeError(
            f"Predictor.sequences: an output has shape {y.shape}, for {B} sequences of "
            f"{T} steps; it must be (T, B, ...) or (B, ...)"
        )
    return by_step if per_step is None else per_step


def _refuse_reset():
    raise ValueError(
        "Predictor: the model calls reset_state() itself, so that a series cannot be "
        "cut into pieces. Leave that to its callers, or call the predictor with all of "
        "the series."
    )


def _arrays(y):
    """Return variables as arrays of NumPy, in tuples, lists and dictionaries, too."""
    if isinstance(y, tuple | list):
        return type(y)(map(_arrays, y))
    if isinstance(y, dict):
        return {key: _arrays(value) for key, value in y.items()}
    if isinstance(y, Variable) or backend.is_array(y):
        return backend.to_cpu(as_array(y))
    return y


def _state_of(model):
    return {
        f"{path.rstrip('/')}/{name}": as_array(value)
        for path, link in model.namedlinks()
        for name in link.carried
        if (value := getattr(link, name)) is not None
    }


def _set_state(model, state):
    names = {
        f"{path.rstrip('/')}/{name}": (link, name)
        for path, link in model.namedlinks()
        for name in link.carried
    }
    unknown = [name for name in state if name not in names]
    if unknown:
        raise KeyError(
            f"Predictor: the model carries no {unknown[0]!r}; it carries: "
            f"{', '.join(names) or 'nothing'}"
        )
    for path, array in state.items():
        link, name = names[path]
        array = link.device.send(as_array(array))
        setattr(link, name, Variable(array, requires_grad=False))
