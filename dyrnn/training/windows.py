"""Steps, windows and examples: what updaters ask iterators and models about them."""

import contextlib
import functools
import operator
import warnings
import weakref

import numpy as np

from dyrnn.datasets import concat_examples
from dyrnn.engine.core import Variable
from dyrnn.engine.counts import (
    FIRST,
    RATIO,
    SUM,
    TERMS,
    is_no_mean,
    kind_of,
    largest,
    terms_of,
)
from dyrnn.engine.hooks import FunctionHook
from dyrnn.errors import ShapeError
from dyrnn.functions.connection import EmbedID
from dyrnn.iterators.base import positive_integer
from dyrnn.link import Link
from dyrnn.links.recurrent import Recurrent, call_checks


def loss_of_steps(steps, is_sum):
    """Return what to minimise, and the parts of its mean over the steps.

    Parameters
    ----------
    steps : list of lists of (mean, count)
        The parts of each step, see `Tally.parts_of`.
    is_sum : bool
        Whether they are sums, to be added without weights.
    """
    if len({len(parts) for parts in steps}) > 1:  # no step says which it lacks
        steps = [[(total(parts), largest([n for _, n in parts]))] for parts in steps]
    losses, parts = [], []
    for column in zip(*steps, strict=True):
        means, counts = zip(*column, strict=True)
        if is_sum:
            losses.append(functools.reduce(operator.add, means))
        else:
            losses.append(weighted_sum(means, counts))
        parts.append((losses[-1].array / len(steps), sum(counts)))
    return functools.reduce(operator.add, losses), parts


def total(parts):
    """Return the sum of means with their counts; one without labels adds nothing."""
    values = [value for value, n in parts if not _is_0(n)] or [parts[0][0]]
    return functools.reduce(operator.add, values)


def weighted_sum(losses, counts):
    """Return the number of losses times their mean, weighted by their counts."""
    # A step without labels has no mean: it may well be NaN.
    pairs = [(loss, n) for loss, n in zip(losses, counts, strict=True) if not _is_0(n)]
    if pairs and len(pairs) < len(losses):
        factor = len(losses) / len(pairs)
        return weighted_sum(*zip(*pairs, strict=True)) * factor
    if any(type(n) is not int or n != counts[0] for n in counts):
        total = sum(counts)
        total = total + (total == 0)
        shares = [n * len(counts) / total for n in counts]
        losses = [
            loss * (share if isinstance(share, float) else share.astype(loss.dtype))
            for loss, share in zip(losses, shares, strict=True)
        ]
    return functools.reduce(operator.add, losses)


def _is_0(count):
    return isinstance(count, int | float | np.number | np.ndarray) and count == 0


def loss_of_window(loss, tally):
    """Return what to minimise, the parts of its mean over the steps, and a doubt.

    The doubt says what the loss was found to be, if by steps it may be another.
    """
    length = tally.window[0]
    labels, _, kind = getattr(loss, "_count", None) or (None, 1.0, None)
    parts = tally.parts_of(loss)
    doubt = None
    if kind == RATIO and length > 1 and type(labels) in (int, float):
        if labels % tally.default:
            doubt = f"is a sum divided by {labels:g}"
    elif kind == TERMS and len(parts) == length > 1:
        doubt = f"is a sum of {length} losses, as many as steps,"
    elif tally.is_unclear(loss) and length > 1:
        doubt = "was computed from sums"
    elif is_no_mean(loss) and length > 1:
        doubt = "is a root, an exponential or the like of a mean"
    is_mean = tally.is_mean_of_sums(loss)
    if is_mean and length == 2:  # or is it one half of the squares
        doubt = "is one half of sums over 2 steps"
    if kind == SUM or (kind == FIRST and not is_mean):
        return loss, parts, doubt
    if kind == TERMS:
        losses = terms_of(loss)
        found = [loss_of_window(term, tally) for term in losses]
        terms = [
            term * length if kind_of(term) == SUM else loss
            for term, (loss, _, _) in zip(losses, found, strict=True)
        ]
        doubts = [doubt, *(each for _, _, each in found)]
        return (
            functools.reduce(operator.add, terms),
            parts,
            next(filter(None, doubts), None),
        )
    return parts[0][0] * length, parts, doubt


class Doubts:
    """Says once what the updater or Evaluator takes an unclear loss for."""

    def __init__(self, owner):
        self._owner = type(owner).__name__
        self._is_told = False
        self._told_names: set[str] = set()

    def tell_no_means(self, names):
        """Warn once of reported values whose mean over batches says little."""
        new = [name for name in names if name not in self._told_names]
        self._told_names.update(new)
        if new:
            warnings.warn(
                f"{self._owner}: {', '.join(new)} is no mean over examples, as a root, "
                "an exponential and a score of all examples are not; the mean over "
                "batches depends on their size. Report the mean inside, and compute "
                "the rest in LogReport(postprocess=...), as extensions.perplexity "
                "does; or evaluate in one batch.",
                stacklevel=3,
            )

    def tell(self, found, count, consequence):
        """Warn that the loss ``found``, and is taken for the mean over its labels."""
        if self._is_told:
            return
        self._is_told = True
        warnings.warn(
            f"{self._owner}: the loss {found} and is taken for the mean over "
            f"{count} labels. {consequence} Return F.mean(losses), F.sum(losses), or "
            "F.sum(losses * mask) / mask.sum(); or say over how many labels it is the "
            "mean, loss.count = n.",
            stacklevel=3,
        )


def steps_of(iterator, bprop_len):
    """How many steps an update takes: those of the iterator's windows, or as told."""
    steps = getattr(iterator, "steps", None)
    if bprop_len is None:
        if steps is None:
            raise TypeError(
                f"BPTTUpdater: a {type(iterator).__name__} does not say how many steps "
                "an update takes: write BPTTUpdater(iterator, optimizer, bprop_len=35) "
                "or the like"
            )
        return steps
    bprop_len = positive_integer("BPTTUpdater: bprop_len", bprop_len)
    if steps not in (None, bprop_len):
        raise ValueError(
            f"BPTTUpdater: the iterator gives windows of {steps} steps, but bprop_len "
            f"is {bprop_len}. Leave bprop_len out: it is the iterator's."
        )
    if getattr(iterator, "next_window", None) is not None:
        in_pass = operator.length_hint(iterator, bprop_len)
        if bprop_len > in_pass:
            raise ValueError(
                f"BPTTUpdater: bprop_len is {bprop_len}, but a pass over the data has "
                f"{in_pass} steps. Decrease bprop_len or the batch size, or use a "
                "longer text."
            )
    return bprop_len


def check_window(iterator, arrays):
    """Refuse arrays without a batch axis: they are one step, or one sequence."""
    shapes = [np.shape(array) for array in arrays]
    if min(map(len, shapes), default=2) < 2:
        raise ShapeError(
            f"BPTTUpdater: a {type(iterator).__name__} gave a tuple of arrays of shape "
            f"{', '.join(map(str, shapes))}, but those of a window are (T, B, ...). "
            "Give a list of examples for a single step."
        )


def finalize_all(iterators):
    """Release what iterators hold, of all of them even if one raises."""
    with contextlib.ExitStack() as stack:
        for iterator in iterators:
            if hasattr(iterator, "finalize"):
                stack.callback(iterator.finalize)


def check_goes_on(iterator):
    """Refuse batches that do not go on where the ones before ended."""
    if getattr(iterator, "goes_on", True):
        return
    kind = type(iterator).__name__
    raise ValueError(
        f"BPTTUpdater: the batches of a {kind} do not go on where those before ended, "
        "but the model carries its state from one to the next. Use a WindowIterator or "
        "ParallelSequentialIterator over one long sequence, or StandardUpdater for "
        "sequences of their own. If row b of each batch goes on where row b of the one "
        "before ended, say so: iterator.goes_on = True."
    )


def takes_windows(*models):
    """Whether models have links that carry state, and each says it takes windows.

    A class that overrides ``forward`` says so itself. A link without carried state may
    say that it takes steps only: ``takes_windows = False``.
    """
    has_state = False
    links = [
        link for model in models if isinstance(model, Link) for link in model.links()
    ]
    for link in links:
        answer = _answer(link)
        is_stateful = link.carried or type(link).reset_state is not Link.reset_state
        if answer is False or (is_stateful and not answer):
            return False
        has_state = has_state or bool(is_stateful)
    return has_state


def _answer(link):
    """What the class of a link says of windows, or None if it says nothing."""
    for cls in type(link).__mro__:
        if cls is Link:
            break
        if "takes_windows" in vars(cls):
            return vars(cls)["takes_windows"]
        if "forward" in vars(cls) or "__call__" in vars(cls):
            break
    return None


@contextlib.contextmanager
def unrelated_examples(models, iterator, batch, arrays, converter):
    """Let recurrent layers refuse what examples that do not follow each other are not.

    That is a window whose first axis is the batch's, as `concat_examples` makes it of
    sequences, and a state that is there before the block. Iterators whose batches go on
    where the one before ended have no such block.
    """
    goes_on = getattr(iterator, "goes_on", True)
    links = [link for model in models for link in model.links() if not goes_on]
    layers = {id(link): link for link in links if isinstance(link, Recurrent)}
    if not layers:
        yield
        return
    left = {key: getattr(each, each.carried[0]) for key, each in layers.items()}
    windows = _batch_major(batch, arrays, converter)
    rows = _Rows([a for a in windows if a.shape[0] == a.shape[1]])
    lines = [a.shape for a in _parts(arrays) if getattr(a, "ndim", 0) == 2]
    single_steps = {}

    def check(layer, x, state):
        name = type(layer).__name__
        is_first_step = x.shape in lines and id(layer) not in single_steps
        single_steps[id(layer)] = (layer, x.shape) if is_first_step else None
        is_made = x.ndim == 3 and any(_is_made_of(x, array) for array in windows)
        if is_made or (x.ndim == 3 and id(x.array) in rows.arrays):
            B, T = x.shape[:2]
            raise ShapeError(
                f"{name}: x has shape {x.shape}, the {B} examples of a batch first, "
                f"but the first axis of a window is time, here {T} steps. Say "
                "converter=dyrnn.datasets.time_major to the updater and the Evaluator: "
                "it gives (T, B, ...), of x and of targets as long."
            )
        if state is not None and state is left[id(layer)]:
            kind = type(iterator).__name__
            raise RuntimeError(
                f"{name}: it would go on from the state of another batch, but those of "
                f"a {kind} are examples that do not follow each other. Write "
                "self.reset_state() first in the model's forward (and if they are "
                "sequences, converter=dyrnn.datasets.time_major to the updater). If "
                "row b of each batch goes on where row b of the one before ended, "
                "say so: iterator.goes_on = True."
            )

    call_checks.update(dict.fromkeys(layers, check))
    try:
        with rows if rows.arrays else contextlib.nullcontext():
            yield
        for layer, shape in filter(None, single_steps.values()):
            _tell_of_single_step(layer, shape)
    finally:
        for key in layers:
            call_checks.pop(key, None)


class _Rows(FunctionHook):
    """Remembers what is made row by row of arrays (B, T, ...) with B = T."""

    def __init__(self, arrays):
        self.arrays = {id(array): array for array in arrays}

    def forward_after(self, node, arrays, outputs):
        if type(node).__module__ not in _ROW_BY_ROW:
            return
        for x in arrays:
            if id(x) in self.arrays:
                ndim = x.ndim + isinstance(node, EmbedID)
                self.arrays.update(
                    (id(y), y)
                    for y in outputs
                    if y.shape[:2] == x.shape[:2] and y.ndim == ndim
                )


_ROW_BY_ROW = {
    f"dyrnn.functions.{topic}"
    for topic in (
        "activation",
        "arithmetic",
        "connection",
        "math",
        "noise",
        "normalization",
    )
}
_told: weakref.WeakSet = weakref.WeakSet()  # layers that were warned of


def _tell_of_single_step(layer, shape):
    """Warn once of a layer that took the batch for one step, and saw no other."""
    if layer in _told:
        return
    _told.add(layer)
    warnings.warn(
        f"{type(layer).__name__}: x has shape {shape}, as the batch; it was read as "
        f"one step, {shape[0]} rows of {shape[1]} features, and no other came. If "
        "examples are sequences of numbers, (T,), make them (T, 1), by x[:, None], "
        "and say converter=dyrnn.datasets.time_major.",
        stacklevel=5,
    )


def _parts(arrays):
    if isinstance(arrays, dict):
        return list(arrays.values())
    return arrays if isinstance(arrays, tuple | list) else (arrays,)


def _batch_major(batch, arrays, converter):
    """Return the arrays (B, T, ...) that cannot be (T, B, ...)."""
    if hasattr(batch[0], "collate"):  # examples that put time first themselves
        return []
    size = len(batch)
    return [
        array
        for array in _parts(arrays)
        if getattr(array, "ndim", 0) > 1
        and len(array) == size
        and (array.shape[1] != size or converter is concat_examples)
    ]


def _is_made_of(x, array):
    """Whether x is that array, or its first two axes, which tell if they differ."""
    B, T = array.shape[:2]
    return x.array is array or (B != T and x.shape[:2] == (B, T))


def cut_history(model):
    """Keep of the carried state its values only, as a snapshot does.

    A state that this update's loss did not depend on would take its graph into the
    next one's, and gradients further back than in a run that was resumed in between.
    """
    for link in model.links():
        for name in link.carried:
            state = getattr(link, name)
            if isinstance(state, Variable):
                state.unchain_backward()


def check_graph(name, loss, optimizers):
    """Refuse a loss that was not computed by functions: nothing would be trained."""
    if loss.node is None and not any(each.updates for each in optimizers):
        raise ValueError(
            f"{name}: the loss is a Variable without a graph, from which no parameter "
            "gets a gradient. Return what functions computed, such as F.mean(losses), "
            "and not a Variable made of its array."
        )


def check_optimizers(kind, optimizers):
    """Refuse the update of several optimizers if one has nothing of its own to do."""
    owners: dict[int, str] = {}
    for name, optimizer in optimizers.items():
        for path, param, _ in optimizer.updates:
            if owners.setdefault(id(param), name) != name:
                raise ValueError(
                    f"{kind}: {path} of optimizer {name!r} is a parameter of "
                    f"{owners[id(param)]!r}, too, and would be updated twice. Freeze "
                    f"it in one of them, optimizer.freeze({path!r}), or give each a "
                    "model of its own."
                )
        if not optimizer.updates and optimizer.target.count_params():
            raise ValueError(
                f"{kind}: the loss does not depend on the model of optimizer {name!r}. "
                "Leave that optimizer out, or override update_core to train each model "
                "by a loss of its own."
            )
        optimizer.check_gradients()
