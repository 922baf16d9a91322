"""Spelling words by syllables: ``dre+ am+ wo+ rks:`` for ``dreamworks``.

A text is a sequence of frequent words, written as they are, and of other words spelled
in pieces: ``am+`` is a piece with more to come, ``rks:`` ends its word. A piece is a
frequent syllable, else a character, else the bytes of a rare character (``<0xE3>+``),
so any text can be spelled and :func:`join` gives it back exactly. The idea is that of
Mikolov et al., "Subword Language Modeling with Neural Networks", 2012.
"""

import re
from collections import Counter

VOWELS = "aeiouyàáâãäåæèéêëìíîïòóôõöøùúûüýÿœ"
_SYLLABLE = re.compile(
    # A vowel, with the consonant that closes it if another one follows; or consonants
    # up to a vowel; or consonants without one; or a single character of any other kind.
    rf"[{VOWELS}](?:[^\W\d_{VOWELS}](?![{VOWELS}]))?"
    rf"|[^\W\d_{VOWELS}]*[{VOWELS}]|[^\W\d_{VOWELS}]+|.",
    re.IGNORECASE | re.DOTALL,
)
_BYTE = re.compile(r"<0x([0-9A-F]{2})>\+")
BYTES = [f"<0x{byte:02X}>+" for byte in range(256)]
MIN_CHARACTER_COUNT = 5  # a character seen less often is spelled by its bytes


def syllables(word):
    """Cut a word into syllables and single non-letters.

    >>> syllables("interactive")
    ['in', 'te', 'ra', 'cti', 've']
    """
    return _SYLLABLE.findall(word)


def spell(word, known):
    """Return the tokens of one word: itself if it is in ``known``, else its pieces."""
    if word in known and _is_plain(word):
        return [word]
    *first, last = syllables(word) or [""]
    return [
        token
        for piece, mark in [*((piece, "+") for piece in first), (last, ":")]
        for token in _spell_piece(piece, mark, known)
    ]


def _is_plain(word):
    """Whether a word can stand for itself without being taken for a piece."""
    return word != "" and word[-1] not in "+:" and word != "<eos>"


def _spell_piece(piece, mark, known):
    if piece + mark in known or piece == "":
        return [piece + mark]
    if len(piece) > 1:
        marks = "+" * (len(piece) - 1) + mark
        return [
            token
            for character, mark in zip(piece, marks, strict=True)
            for token in _spell_piece(character, mark, known)
        ]
    return [BYTES[byte] for byte in piece.encode()] + ([":"] if mark == ":" else [])


def spell_line(line, known, cache):
    """Return the tokens of a line; words are what single spaces separate."""
    tokens = []
    for word in line.split(" ") if line else ():
        if word not in cache:
            cache[word] = spell(word, known)
        tokens += cache[word]
    return tokens


def join(tokens):
    """Return the line that ``tokens`` spell."""
    words, letters, is_open = [], bytearray(), False
    for token in tokens:
        is_open = token.endswith("+")
        byte = _BYTE.fullmatch(token)
        if byte:
            letters.append(int(byte[1], 16))
        else:
            letters += (token[:-1] if token[-1] in "+:" else token).encode()
        if not is_open:
            words.append(letters.decode("utf-8", "replace"))
            letters.clear()
    if is_open:
        words.append(letters.decode("utf-8", "replace"))
    return " ".join(words)


def choose(text, n_words, n_syllables):
    """Return the tokens for ``text``: frequent words and syllables, and the fallback.

    Parameters
    ----------
    text : str
    n_words, n_syllables : int
        How many of the most frequent ones to keep.
    """
    counts = Counter(match[0] for match in re.finditer(r"[^ \n]+", text))
    words = _most_frequent({w: n for w, n in counts.items() if _is_plain(w)}, n_words)
    known = set(words)
    pieces: Counter[str] = Counter()
    for word, count in counts.items():
        if word not in known:
            *first, last = syllables(word)
            for piece in first:
                pieces[piece + "+"] += count
            pieces[last + ":"] += count
    characters = Counter(text)
    frequent = [
        character + mark
        for character, count in characters.items()
        if count >= MIN_CHARACTER_COUNT and character not in " \n"
        for mark in "+:"
    ]
    chosen = dict.fromkeys(words + _most_frequent(pieces, n_syllables) + frequent)
    return list(dict.fromkeys([*chosen, *BYTES, ":"]))


def _most_frequent(counts, n):
    return sorted(counts, key=lambda token: (-counts[token], token))[:n]
