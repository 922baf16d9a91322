"""From lists of examples to arrays: what an updater feeds to a model."""

import itertools
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from dyrnn import backend
from dyrnn.backend import DeviceLike
from dyrnn.errors import ShapeError
from dyrnn.functions.checks import type_for
from dyrnn.typing import Array


def concat_examples(
    batch: Sequence, device: DeviceLike | None = None, padding: Any = None
) -> Any:
    """Make arrays of a list of examples, along a new first axis.

    Parameters
    ----------
    batch : list
        Examples: arrays or numbers, or tuples or dictionaries of them. Where their
        class has a ``collate(batch, device)``, as those of `SeriesWindows`, that makes
        the arrays.
    device : optional
        Anything :func:`dyrnn.backend.get_device` takes; None leaves arrays where they
        are.
    padding : number, or a tuple or dictionary of them, optional
        What fills up arrays of different shapes.

    Returns
    -------
    array, or a tuple or dictionary of arrays, as the examples are

    Raises
    ------
    ValueError
        If the batch is empty.
    ShapeError
        If shapes differ and there is no padding, or examples differ in their parts.

    Examples
    --------
    >>> concat_examples([([1, 2], 1), ([3], 2)], padding=(-1, None))
    (array([[ 1,  2],
           [ 3, -1]]), array([1, 2]))
    """
    if len(batch) == 0:
        raise ValueError("the batch is empty: there are no examples to concatenate")
    first = batch[0]
    if padding is None and hasattr(first, "collate"):
        return first.collate(batch, device)
    if isinstance(first, tuple):
        _check_parts(batch)
        if not isinstance(padding, tuple):
            padding = (padding,) * len(first)
        return tuple(
            _concat(list(column), device, fill)
            for column, fill in zip(zip(*batch, strict=True), padding, strict=True)
        )
    if isinstance(first, dict):
        if not isinstance(padding, dict):
            padding = dict.fromkeys(first, padding)
        return {
            key: _concat([example[key] for example in batch], device, padding[key])
            for key in first
        }
    return _concat(list(batch), device, padding)


def _check_parts(batch):
    sizes = {len(example) for example in batch}
    if len(sizes) > 1:
        raise ShapeError(
            f"the examples of a batch have different numbers of parts: {sorted(sizes)}"
        )


def time_major(
    batch: Sequence,
    device: DeviceLike | None = None,
    padding: Any = None,
    sequences: Collection | None = None,
) -> Any:
    """Make arrays of examples that are sequences, with time as the first axis.

    The converter for sequences in `StandardUpdater` and `Evaluator`.

    Parameters
    ----------
    batch : list
        Examples: sequences (T, ...), or tuples or dictionaries of them and of others.
    device : optional
        As in `concat_examples`.
    padding : number, or a tuple or dictionary of them, optional
        What fills up shorter sequences, say by ``functools.partial(time_major,
        padding=(0, -1))``; then their lengths (B,), int32, are a last part more, in a
        dictionary ``"lengths"``. -1 is the label that ``softmax_cross_entropy``
        ignores.
    sequences : collection of int or str, optional
        Which parts are sequences; by default the first, and those that have as many
        items as it in every example. Say it where a target of another kind may have as
        many, such as ``sequences=(0,)`` for the next 24 values after 24.

    Returns
    -------
    array, or a tuple or dictionary of arrays
        Sequences as (T, B, ...), other parts as (B, ...).

    Examples
    --------
    >>> examples = [(np.ones((7, 3)), np.zeros((7, 1)), 4)] * 5
    >>> [array.shape for array in time_major(examples)]
    [(7, 5, 3), (7, 5, 1), (5,)]
    """
    if len(batch) == 0:
        raise ValueError("the batch is empty: there are no examples to concatenate")
    is_bare = not isinstance(batch[0], tuple | dict)
    examples = [(each,) for each in batch] if is_bare else list(batch)
    names = list(examples[0]) if isinstance(examples[0], dict) else None
    if names is None:
        _check_parts(examples)
    keys = list(range(len(examples[0])) if names is None else names)
    steps = {key: [_steps(example[key]) for example in examples] for key in keys}
    if sequences is not None:
        sequences = list(sequences)
    else:
        sequences = [key for key in keys if steps[key] == steps[keys[0]]]
    _check_sequences(sequences, steps, padding)
    if padding is not None and not isinstance(padding, tuple | dict):
        padding = {key: padding if key in sequences else None for key in keys}
        padding = tuple(padding.values()) if names is None else padding
    arrays = concat_examples(examples, device, padding)
    parts = {
        key: arrays[key].swapaxes(0, 1) if key in sequences else arrays[key]
        for key in keys
    }
    if padding is not None:
        lengths = np.array(steps[sequences[0]], np.int32)
        parts["lengths"] = (
            lengths if device is None else backend.to_device(lengths, device)
        )
    if names is not None:
        return parts
    return parts[0] if is_bare and padding is None else tuple(parts.values())


def _check_sequences(sequences, steps, padding):
    """Refuse parts that are not sequences of the same lengths, by parts."""
    unknown = [key for key in sequences if key not in steps]
    if unknown or not sequences:
        raise ValueError(
            f"time_major: sequences={sequences!r}, but the parts of an example are "
            f"{list(steps)}; name at least one of them"
        )
    first = steps[sequences[0]]
    if None in first:
        raise ShapeError(
            f"time_major: part {sequences[0]!r} of an example is a number, not a "
            "sequence (T, ...). Say which parts are: sequences=(1,) or the like."
        )
    for key in sequences:
        if steps[key] != first:
            i = next(i for i, n in enumerate(steps[key]) if n != first[i])
            raise ShapeError(
                f"time_major: in example {i} of the batch, part {key!r} has "
                f"{steps[key][i]} steps, and part {sequences[0]!r} has {first[i]}"
            )
    if padding is None and len(set(first)) > 1:
        values = "0" if len(sequences) == 1 else "(0, -1)"  # labels do not count
        raise ShapeError(
            f"time_major: sequences of {min(first)} to {max(first)} steps in a batch. "
            f"Say converter=functools.partial(time_major, padding={values}): it pads "
            "them, labels with the -1 that softmax_cross_entropy ignores, and adds an "
            "argument, their lengths."
        )


def _steps(part):
    """How many items a part of an example has, or None if it is a number."""
    return len(part) if np.ndim(part) else None


def _concat(arrays, device, padding):
    xp = backend.get_array_module(arrays[0])
    if not backend.is_array(arrays[0]):
        arrays = [np.asarray(array) for array in arrays]
    shapes = {array.shape for array in arrays}
    if len(shapes) == 1:
        result = xp.stack(arrays)
    elif padding is None:
        raise ShapeError(
            f"examples of different shapes in one batch: {sorted(shapes)}. Give "
            "concat_examples a padding, or use a batch of equal shapes."
        )
    elif len({len(shape) for shape in shapes}) > 1:
        raise ShapeError(
            f"cannot pad arrays of different numbers of axes: {sorted(shapes)}"
        )
    else:
        shape = tuple(map(max, zip(*shapes, strict=True)))
        # An empty list has no type of its own.
        dtypes = {array.dtype for array in arrays if array.size}
        dtype = type_for(np.result_type(*(dtypes or [arrays[0].dtype])), padding)
        result = xp.full((len(arrays), *shape), padding, dtype=dtype)
        for i, array in enumerate(arrays):
            result[i][tuple(map(slice, array.shape))] = array
    return result if device is None else backend.to_device(result, device)


def pad_sequences(batch: Sequence, padding: float = -1) -> tuple[Array, Array]:
    """Return sequences as the columns of one time-major array, and their lengths.

    Parameters
    ----------
    batch : list of sequences
        Arrays or lists (T_b, ...), of any lengths.
    padding : number
        What follows the end of the shorter ones. -1 is the label that
        ``softmax_cross_entropy`` ignores.

    Returns
    -------
    array : (T, B, ...), T the greatest length
    lengths : ndarray, (B,), int32
    """
    lengths = np.array([len(sequence) for sequence in batch], dtype=np.int32)
    if len(batch) and lengths.max() == 0:
        raise ShapeError("all sequences of the batch are empty")
    return concat_examples(list(batch), padding=padding).swapaxes(0, 1), lengths


def split_lines(ids: Array, eos: int | None) -> list[Array]:
    """Return the lines of a text, each with the line end before it and its own.

    So ``line[:-1]`` is what a language model reads, and ``line[1:]`` what it predicts.
    A last line without its end is left out.

    Parameters
    ----------
    ids : array of int, (T,)
    eos : int or None
        What ends a line, such as ``vocabulary.ids.get("<eos>")``.

    Returns
    -------
    list of arrays

    Raises
    ------
    ValueError
        If there is no line end in the text.

    Examples
    --------
    >>> [line.tolist() for line in split_lines(np.array([5, 6, 0, 7, 0, 8]), 0)]
    [[0, 5, 6, 0], [0, 7, 0]]
    """
    if eos is None or not (ids == eos).any():
        raise ValueError(
            f"split_lines: the text, of {len(ids)} words, has no line end. Give one "
            "with a sentence on each line, and a line end after the last."
        )
    ids = np.concatenate((np.full(1, eos, ids.dtype), ids))
    ends = np.flatnonzero(ids == eos).tolist()
    return [ids[start : stop + 1] for start, stop in itertools.pairwise(ends)]


def call_with(function, arrays):
    """Call a function with a tuple as arguments, a dict as keywords, or one array."""
    if isinstance(arrays, tuple):
        return function(*arrays)
    if isinstance(arrays, dict):
        return function(**arrays)
    return function(arrays)


def target_count(arrays, batch):
    """How many targets a mean over the batch is taken of: the last argument's size."""
    if isinstance(arrays, dict):
        arrays = tuple(arrays.values())
    last = arrays[-1] if isinstance(arrays, tuple) else arrays
    if isinstance(last, list | tuple) and all(hasattr(x, "size") for x in last):
        return sum(array.size for array in last)
    return last.size if hasattr(last, "size") else len(batch)
