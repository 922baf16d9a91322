"""Vocabularies: words, characters or pieces of words, numbered by their frequency.

Ids go by falling count, then by the word itself, so a text always gives the same ones.
The end of a line is the word ``<eos>``; ``<unk>``, if it is there, stands for every
word that is not.
"""

import difflib
import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice

import numpy as np

from dyrnn.datasets import subwords
from dyrnn.datasets.text import lines_of, open_text
from dyrnn.serializers.atomic import atomic_output
from dyrnn.typing import Array, PathLike

# The tokens of a text, as strings, take ten times its room: so much at once.
_PIECE = 1 << 20
_BETWEEN = re.compile(r"(?<=[^\s]) (?=[^\s])")

EOS = "<eos>"
UNK = "<unk>"
LEVELS = ("word", "char", "subword")


class Vocabulary:
    r"""Words and their ids, and the way from a text to ids and back.

    Parameters
    ----------
    words : sequence of str
        The word of each id.
    level : {"word", "char", "subword"}
        How a text is cut: at white space; into characters; or into frequent words and
        pieces of words (see :mod:`dyrnn.datasets.subwords`), which gives any text back
        as it was, spaces included.

    Attributes
    ----------
    words : list of str
    ids : dict
        The id of each word.
    level : str

    Examples
    --------
    >>> vocabulary = Vocabulary.from_text("a rose is a rose\n")
    >>> vocabulary.words
    ['a', 'rose', '<eos>', 'is']
    >>> vocabulary.encode("a rose is")
    array([0, 1, 3], dtype=int32)
    >>> vocabulary.decode([0, 1, 3])
    'a rose is'
    """

    def __init__(self, words: Iterable[str], level: str = "word") -> None:
        self.words = list(words)
        self.level = level
        if level not in LEVELS:
            raise ValueError(f"unknown level {level!r}: use one of {', '.join(LEVELS)}")
        if not self.words:
            raise ValueError("a vocabulary needs at least one word")
        self.ids: dict[str, int] = {}
        for i, word in enumerate(self.words):
            if not isinstance(word, str) or word == "":
                raise ValueError(f"word {i} of the vocabulary is {word!r}, not a text")
            if word in self.ids:
                raise ValueError(
                    f"word {word!r} is twice in the vocabulary, as ids "
                    f"{self.ids[word]} and {i}"
                )
            self.ids[word] = i

    @classmethod
    def from_text(
        cls,
        text: str,
        level: str = "word",
        size: int | None = None,
        min_count: int = 1,
        syllables: int = 2000,
        unk: bool = False,
    ) -> "Vocabulary":
        """Make the vocabulary of a text.

        Parameters
        ----------
        text : str
        level : {"word", "char", "subword"}
        size : int, optional
            Keep the most frequent words only, this many with ``<unk>``, which takes
            the place of the others. At level "subword": the number of whole words.
        min_count : int
            Words seen less often become ``<unk>``, too.
        syllables : int
            At level "subword", how many syllables to keep.
        unk : bool
            Whether to have ``<unk>`` even if the text does not need it.
        """
        if level == "subword":
            chosen = subwords.choose(text, 5000 if size is None else size, syllables)
            spelled = cls([EOS, *(w for w in chosen if w != EOS)], level)
            counts: Counter[str] = Counter()
            for tokens in spelled._by_line(text):
                counts.update(tokens)
            words = sorted(spelled.words, key=lambda word: (-counts[word], word))
            return cls(words, level)
        counts = Counter()
        for tokens in cls([EOS], level)._by_line(text):
            counts.update(tokens)
        if size is not None and size < 2:
            raise ValueError(f"a vocabulary of size {size} is too small: use 2 or more")
        words = sorted(counts, key=lambda word: (-counts[word], word))
        kept = {word for word in words if counts[word] >= min_count or word == EOS}
        if len(kept) < len(words) or (size and len(words) > size) or unk:
            room = None if size is None else size - 1
            kept = set([w for w in words if w in kept and w != UNK][:room])
            counts[UNK] += sum(counts[word] for word in words if word not in kept)
            kept.add(UNK)
        return cls(sorted(kept, key=lambda word: (-counts[word], word)), level)

    @classmethod
    def from_file(cls, path: PathLike, level: str = "word") -> "Vocabulary":
        """Read a file with one word a line.

        Raises
        ------
        ValueError
            If a line is blank, or a word stands in two lines.
        """
        name = os.fspath(path)
        seen: dict[str, int] = {}
        with open_text(path) as file:
            for number, (_, _, line) in enumerate(lines_of(file, name), 1):
                word = line.removesuffix("\n")
                if word == "":
                    raise ValueError(f"{name!r}, line {number} is blank")
                if word in seen:
                    raise ValueError(
                        f"{name!r}: word {word!r} is in line {seen[word]} and again in "
                        f"line {number}"
                    )
                seen[word] = number
        return cls(seen, level)

    def save(self, path: PathLike) -> None:
        """Write a file with one word a line, for :meth:`from_file`."""
        for word in self.words:
            if "\n" in word or "\r" in word:
                raise ValueError(
                    f"word {word!r} has a line end and does not fit into a file with "
                    "one word a line; save to_json() instead"
                )
        with atomic_output(path) as file:
            file.writelines(f"{word}\n".encode() for word in self.words)

    def to_json(self):
        """Return the level and the words as lists and strings, for JSON."""
        return [self.level, self.words]

    @classmethod
    def from_json(cls, saved):
        """Make the vocabulary that ``to_json`` was called on.

        Raises
        ------
        ValueError
            If it is not what ``to_json`` returns.
        """
        if not (
            isinstance(saved, list | tuple)
            and len(saved) == 2
            and isinstance(saved[0], str)
            and isinstance(saved[1], list | tuple)
            and all(isinstance(word, str) for word in saved[1])
        ):
            raise ValueError(
                "a saved vocabulary is a list of its level and the list of its words, "
                f"but this is {saved!r:.80}"
            )
        level, words = saved
        return cls(words, level)

    @property
    def sha256(self):
        """Checksum of the level and of all words in their order."""
        text = json.dumps(self.to_json(), ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def __len__(self) -> int:
        return len(self.words)

    def __iter__(self) -> Iterator[str]:
        return iter(self.words)

    def __contains__(self, word):
        return word in self.ids

    def __eq__(self, other):
        if not isinstance(other, Vocabulary):
            return NotImplemented
        return self.level == other.level and self.words == other.words

    def __hash__(self):
        return hash((self.level, len(self.words), self.words[0]))

    def __repr__(self):
        return f"<Vocabulary of {len(self)} tokens, level {self.level}>"

    def tokenize(self, text: str) -> list[str]:
        """Return the words or pieces of a text; a line feed is ``<eos>``."""
        return self._tokens(text, {})

    def _tokens(self, text, cache):
        if self.level == "word":
            return text.replace("\n", f" {EOS} ").split()
        if self.level == "char":
            return [EOS if character == "\n" else character for character in text]
        lines = [
            subwords.spell_line(line, self.ids, cache) for line in text.split("\n")
        ]
        return list(chain(*(line + [EOS] for line in lines[:-1]), lines[-1]))

    def encode(self, text: str, strict: bool = False) -> Array:
        """Return the ids of a text, an int32 array.

        Parameters
        ----------
        text : str
        strict : bool
            Whether an unknown word is an error even if there is ``<unk>``.

        Raises
        ------
        ValueError
            If a word is unknown and there is no ``<unk>``, or ``strict``.
        """
        unknown = -1 if strict else self.ids.get(UNK, -1)
        # A line at a time: the words of a whole corpus, as strings, take much room.
        ids = np.fromiter(
            (
                self.ids.get(token, unknown)
                for tokens in self._by_line(text)
                for token in tokens
            ),
            np.int32,
        )
        if unknown < 0 and len(ids) and ids.min() < 0:
            tokens = chain.from_iterable(self._by_line(text))
            before = islice(tokens, int(np.argmin(ids)))
            line = 1 + sum(token == EOS for token in before)
            self._refuse(next(tokens), line)
        return ids

    def _by_line(self, text):
        """Yield the tokens of a text in pieces: lines, and parts of long ones."""
        cache: dict[str, list[str]] = {}
        start = 0
        while start < len(text):
            stop = following = text.find("\n", start) + 1 or len(text)
            if stop - start > _PIECE and self.level == "char":
                stop = following = start + _PIECE
            elif stop - start > _PIECE:  # a space with a word on either side
                space = _BETWEEN.search(text, start + _PIECE, stop)
                if space:
                    stop, following = space.start(), space.end()
            yield self._tokens(text[start:stop], cache)
            start = following

    def _refuse(self, token, line):
        if token == EOS:
            raise ValueError(
                f"the text has line ends, but the vocabulary of {len(self)} words has "
                f"no {EOS}; add it, or join the lines"
            )
        near = difflib.get_close_matches(token, self.words, n=3)
        hint = f" Nearest: {', '.join(map(repr, near))}." if near else ""
        kind = "character" if self.level == "char" else "word"
        raise ValueError(
            f"{kind} {token!r} in line {line} is not in the vocabulary of {len(self)} "
            f"{kind}s{'' if UNK in self.ids else f', which has no {UNK}'}.{hint}"
        )

    def decode(self, ids: Sequence[int] | Array) -> str:
        """Return the text of a sequence of ids.

        Words are joined by spaces. ``<eos>`` is a line feed.

        Raises
        ------
        ValueError
            If an id is out of range.
        """
        lines: list[list[str]] = [[]]
        for i in np.asarray(ids, dtype=np.int64).ravel().tolist():
            if not 0 <= i < len(self.words):
                raise ValueError(
                    f"id {i} is out of range: the vocabulary has {len(self)} words"
                )
            if self.words[i] == EOS:
                lines.append([])
            else:
                lines[-1].append(self.words[i])
        join = {"word": " ".join, "char": "".join, "subword": subwords.join}[self.level]
        return "\n".join(map(join, lines))
