"""Scores that are no means of batches: they add up counts, and divide at the end.

A metric is given the answers of each batch with `Metric.add`; `Metric.compute` says
what all of them are worth, so that it does not depend on how they were batched. An
`Evaluator` with ``metrics`` begins and reports them, over several processes, too. The
counts are one vector, `Metric.sums`, in which metrics of parts of the data add up.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from dyrnn import backend
from dyrnn.engine.core import VariableLike, as_array
from dyrnn.errors import ShapeError

__all__ = ["F1", "BitsPerCharacter", "Bleu", "ChunkF1", "Metric"]

_ORDER = 4  # the longest n-grams of BLEU, as Papineni et al. have it


class Metric:
    """Base class of metrics: a vector of sums, and what they are worth.

    A subclass defines ``add``, which adds to ``self.sums``, and ``compute``.

    Parameters
    ----------
    size : int
        Of the vector.

    Attributes
    ----------
    sums : numpy.ndarray, (size,), float64
        Of all batches since the last `reset`.
    """

    def __init__(self, size: int) -> None:
        self.sums = np.zeros(size)

    def reset(self) -> None:
        """Forget all batches."""
        self.sums = np.zeros_like(self.sums)

    def add(self, *answers: Any) -> None:
        """Add a batch."""
        raise NotImplementedError(f"{type(self).__name__} must define add")

    def compute(self) -> dict[str, float]:
        """The scores of all batches by name, of which the main one is ``""``."""
        raise NotImplementedError(f"{type(self).__name__} must define compute")

    def reported(self, name: str) -> dict[str, float]:
        """The scores as they are reported: ``name``, ``name/part``, ..."""
        scores = self.compute().items()
        return {f"{name}/{part}" if part else name: score for part, score in scores}

    def __repr__(self):
        scores = ", ".join(f"{k or 'score'}={v:.4g}" for k, v in self.compute().items())
        return f"{type(self).__name__}({scores})"


class F1(Metric):
    """Harmonic mean of precision and recall, over classes.

    The main score is the average; with names of the classes, the score of each class is
    there under its name, so for two classes ``F1(["no", "yes"])`` has ``"yes"``.

    Parameters
    ----------
    classes : int or sequence of str
        How many, or their names.
    average : {"macro", "micro"}
        The mean over the classes that occur in answers or labels; or of all answers
        together, which is the accuracy where each example has one class.
    ignore_label : int
        Such labels do not count.
    """

    def __init__(
        self,
        classes: int | Sequence[str],
        average: str = "macro",
        ignore_label: int = -1,
    ) -> None:
        if average not in ("macro", "micro"):
            raise ValueError(f"F1: average is {average!r}: use 'macro' or 'micro'")
        if isinstance(classes, str):
            raise TypeError(f"F1: classes is {classes!r}: give a list of names")
        self.names: list[str] = []
        if isinstance(classes, int | np.integer):
            size = int(classes)
        else:
            self.names = list(classes)
            size = len(self.names)
        if isinstance(classes, bool) or size < 1:
            raise ValueError(f"F1: classes={classes!r}: at least one is needed")
        super().__init__(3 * size)
        self.average = average
        self.ignore_label = ignore_label

    def add(self, found: VariableLike, t: VariableLike) -> None:
        """Add answers: class ids of the shape of ``t``, or scores (..., C)."""
        found, t = (np.asarray(backend.to_cpu(as_array(each))) for each in (found, t))
        size = len(self.sums) // 3
        if found.dtype.kind == "f" and found.shape == (*t.shape, size):
            found = found.argmax(-1)
        counts = t != self.ignore_label
        if found.shape != t.shape or found.dtype.kind not in "iub":
            raise ShapeError(
                f"F1: the answers are {found.dtype} of shape {found.shape}, the labels "
                f"of shape {t.shape}; give ids of that shape, or scores of "
                f"{(*t.shape, size)}"
            )
        found, t = (_ids(each[counts], size) for each in (found, t))
        bins = (t[found == t], found, t)
        self.sums += np.concatenate([np.bincount(x, minlength=size) for x in bins])

    def compute(self) -> dict[str, float]:
        """The average, and the scores of named classes; 0 where nothing is right."""
        right, chosen, true = self.sums.reshape(3, -1)
        scores = 2 * right / np.maximum(chosen + true, 1)
        occurs = chosen + true > 0
        if self.average == "micro":
            main = _ratio(2 * right.sum(), (chosen + true).sum())
        else:
            main = float(scores[occurs].mean()) if occurs.any() else 0.0
        return {"": main, **dict(zip(self.names, scores.tolist(), strict=False))}


class ChunkF1(Metric):
    """Precision, recall and F1 of whole spans, such as names in a text.

    A span is right if its first word, its last word and its type are. Tags are read
    as the script of CoNLL-2000 reads them: BIO (IOB1 and IOB2) and BIOES. The main
    score is that of all spans together; each type has its own.

    Parameters
    ----------
    tags : sequence of str
        The tag of each id: ``["O", "B-PER", "I-PER", ...]``.
    ignore_label : int
        Ends a sequence of labels: what follows is padding.

    References
    ----------
    Tjong Kim Sang, Buchholz, "Introduction to the CoNLL-2000 Shared Task: Chunking",
    2000.
    """

    def __init__(self, tags: Sequence[str], ignore_label: int = -1) -> None:
        self.tags = [_parted(tag) for tag in tags]
        found = (kind for letter, kind in self.tags if letter != "O")
        self.types = list(dict.fromkeys(found))
        if not self.types:
            raise ValueError(
                f"ChunkF1: no tag of {list(tags)!r:.80} begins with B- or I-"
            )
        super().__init__(3 * len(self.types))
        self.ignore_label = ignore_label

    def add(self, found: Any, t: Any, lengths: Sequence[int] | None = None) -> None:
        """Add the tags that were found, and the true ones, as ids.

        Parameters
        ----------
        found, t : arrays (T, B), or lists of sequences
            A sequence in each column; or one after another.
        lengths : (B,), optional
            Of the columns.
        """
        found, t = (self._sequences(x, lengths) for x in (found, t))
        if len(found) != len(t):
            raise ShapeError(
                f"ChunkF1: {len(found)} sequences were found, but {len(t)} are true; "
                "arrays are (T, B), lists hold a sequence each"
            )
        for ours, true in zip(found, t, strict=True):
            ends = np.flatnonzero(true == self.ignore_label)
            length = ends[0] if len(ends) else len(true)
            if len(ours) < length or (len(ours) != length and len(ours) != len(true)):
                raise ShapeError(
                    f"ChunkF1: {len(ours)} tags were found for a sequence of {length}"
                )
            size = len(self.tags)
            a, b = (self._spans(_ids(x[:length], size)) for x in (ours, true))
            for row, spans in enumerate((a & b, a, b)):
                for kind, _, _ in spans:
                    self.sums[row * len(self.types) + self.types.index(kind)] += 1

    def _sequences(self, x, lengths):
        if getattr(x, "ndim", 0) == 2 or lengths is not None:
            stacked = (
                x if hasattr(x, "ndim") else [backend.to_cpu(as_array(r)) for r in x]
            )
            columns = np.asarray(backend.to_cpu(as_array(stacked))).T
            if columns.ndim != 2 or (
                lengths is not None and len(columns) != len(lengths)
            ):
                raise ShapeError(
                    f"ChunkF1: tags have shape {columns.T.shape}, lengths "
                    f"{lengths!r:.60}; give (T, B) and B lengths"
                )
            ends = [len(c) for c in columns] if lengths is None else lengths
            return [c[:n] for c, n in zip(columns, ends, strict=True)]
        sequences = [np.asarray(backend.to_cpu(as_array(each))) for each in x]
        if any(each.ndim != 1 for each in sequences):
            raise ShapeError(
                "ChunkF1: give a list of sequences of ids, or an array (T, B) with a "
                "sequence in each column"
            )
        return sequences

    def _spans(self, ids):
        """Return the set of (type, first, last)."""
        spans, begun = set(), None
        before = "O", ""
        for i, now in enumerate([*(self.tags[j] for j in ids), ("O", "")]):
            if begun is not None and _ends(before, now):
                spans.add((before[1], begun, i - 1))
                begun = None
            if begun is None and now[0] != "O":
                begun = i
            before = now
        return spans

    def compute(self) -> dict[str, float]:
        """F1 of all spans, ``precision``, ``recall``, and the F1 of each type."""
        right, chosen, true = self.sums.reshape(3, -1)
        both = zip(self.types, right, chosen + true, strict=True)
        return {
            "": _ratio(2 * right.sum(), (chosen + true).sum()),
            "precision": _ratio(right.sum(), chosen.sum()),
            "recall": _ratio(right.sum(), true.sum()),
            **{kind: _ratio(2 * n, total) for kind, n, total in both},
        }


class Bleu(Metric):
    """BLEU of a corpus, from 0 to 100, of n-grams up to 4.

    It is sacreBLEU's of text that is split into tokens already. Scores of texts that
    were split otherwise are not comparable.

    Parameters
    ----------
    smooth : bool
        Whether orders without a match count as half a match, a quarter, ..., as
        sacreBLEU does by default; else such a corpus has a score of 0.

    References
    ----------
    Papineni et al., "BLEU: a Method for Automatic Evaluation of Machine Translation",
    ACL 2002. Post, "A Call for Clarity in Reporting BLEU Scores", WMT 2018.
    """

    def __init__(self, smooth: bool = True) -> None:
        super().__init__(2 * _ORDER + 2)  # matches, n-grams, both lengths
        self.smooth = smooth

    def add(self, found: Iterable, *references: Iterable) -> None:
        """Add texts, each a sequence of tokens, and what they should be.

        Parameters
        ----------
        found : list of sequences of words or ids
        references : lists of as many sequences
            More than one list, if a text may be any of several.
        """
        if not references:
            raise TypeError("Bleu: give the references, too: add(found, references)")
        lists = [list(texts) for texts in (found, *references)]
        sizes = {len(each) for each in lists}
        if len(sizes) != 1:
            raise ShapeError(
                f"Bleu: {' and '.join(str(len(x)) for x in lists)} texts; each that "
                "was found needs one in each list of references"
            )
        for ours, *true in zip(*lists, strict=True):
            self._add(_tokens(ours), [_tokens(each) for each in true])

    def _add(self, ours, true):
        for n in range(1, _ORDER + 1):
            grams, allowed = _grams(ours, n), Counter[tuple]()
            for each in true:
                allowed |= _grams(each, n)
            self.sums[n - 1] += (grams & allowed).total()
            self.sums[_ORDER + n - 1] += grams.total()
        nearest = min((abs(len(each) - len(ours)), len(each)) for each in true)
        self.sums[-2:] += len(ours), nearest[1]

    def compute(self) -> dict[str, float]:
        """The score of all texts."""
        matches, totals = self.sums[:_ORDER], self.sums[_ORDER:-2]
        ours, true = self.sums[-2:]
        if not matches.any() or not totals.all():
            return {"": 0.0}
        logs, share = 0.0, 1.0
        for match, total in zip(matches, totals, strict=True):
            if not match and not self.smooth:
                return {"": 0.0}
            share /= 1 if match else 2
            logs += math.log((match or share) / total)
        brevity = min(0.0, 1 - true / ours)
        return {"": 100 * math.exp(logs / _ORDER + brevity)}


class BitsPerCharacter(Metric):
    """Bits that a model needs for a character, whatever its tokens are.

    Models of words, of pieces of words and of characters are comparable by it.
    """

    def __init__(self) -> None:
        super().__init__(2)

    def add(self, loss: VariableLike, labels: int, characters: int) -> None:
        """Add a batch.

        Parameters
        ----------
        loss : Variable or number
            Cross-entropy in nats, the mean over the labels.
        labels : int
            How many labels it is the mean of.
        characters : int
            How many characters they stand for, with spaces.
        """
        loss = np.asarray(backend.to_cpu(as_array(loss)))
        if loss.size != 1 or not labels >= 0 or not characters >= 0:
            raise ValueError(
                f"BitsPerCharacter: a loss of shape {loss.shape}, labels={labels}, "
                f"characters={characters}; give one mean, and counts"
            )
        if labels:
            nats = float(loss.reshape(())) * float(labels)
            self.sums += nats / math.log(2), float(characters)

    def compute(self) -> dict[str, float]:
        """The mean; NaN before the first character."""
        bits, characters = self.sums
        return {"": float(bits / characters) if characters else math.nan}


def _ids(x, size):
    if x.dtype.kind not in "iub" or (x.size and not 0 <= x.min() <= x.max() < size):
        raise ValueError(
            f"metrics: the ids {x.tolist()!r:.60} are not whole numbers from 0 to "
            f"{size - 1}"
        )
    return x.astype(np.int64)


def _ratio(part, whole):
    return float(part / whole) if whole else 0.0


def _parted(tag):
    """Return the letter and the type of a tag; E and S as in BIOES."""
    letter, _, kind = str(tag).partition("-")
    if letter not in "O B I E S".split() or (letter == "O" and kind):
        raise ValueError(
            f"ChunkF1: the tag {tag!r:.40} is none of BIO or BIOES: 'O', 'B-PER', "
            "'I-PER', 'E-PER' or 'S-PER'"
        )
    return letter, kind or ("" if letter == "O" else "_")


def _ends(before, now):
    """Whether a span ends between two tags."""
    return before[0] in "ES" or now[0] in "BSO" or before[1] != now[1]


def _tokens(text):
    if isinstance(text, str | bytes):
        raise TypeError(
            f"Bleu: the text {text!r:.40} is not split into tokens; write text.split()"
        )
    values = text if isinstance(text, list | tuple) else backend.to_cpu(as_array(text))
    return [t.item() if hasattr(t, "item") else t for t in values]


def _grams(tokens, n):
    return Counter(tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1))
