"""Archives and vocabularies that are damaged, or made to do harm."""

import contextlib
import io
import random
import tarfile
import zipfile

import pytest

from dyrnn import console
from dyrnn.datasets import Vocabulary, load_corpus

PARTS = ("train", "valid", "test")
TEXT = b" no it was n't black monday \n" * 20


def pack(kind, prefix="", text=TEXT):
    buffer = io.BytesIO()
    if kind == "tgz":
        with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
            for part in PARTS:
                info = tarfile.TarInfo(f"{prefix}ptb.{part}.txt")
                info.size = len(text)
                archive.addfile(info, io.BytesIO(text))
        return buffer.getvalue()
    method = getattr(zipfile, f"ZIP_{kind}")
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for part in PARTS:
            archive.writestr(f"{prefix}ptb.{part}.txt", text)
    return buffer.getvalue()


KINDS = ("STORED", "DEFLATED", "BZIP2", "LZMA", "tgz")


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_archives_raise_documented_errors(tmp_path, kind):
    rng, path = random.Random(kind), tmp_path / "data.zip"
    data = pack(kind)
    for _ in range(60):
        damaged = bytearray(data)
        for _ in range(rng.choice((1, 2, 8))):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        if rng.random() < 0.2:
            del damaged[rng.randrange(len(damaged)) :]
        path.write_bytes(damaged)
        with contextlib.suppress(ValueError, OSError):
            load_corpus(path)


@pytest.mark.parametrize("kind", KINDS)
def test_members_may_begin_with_a_dot(tmp_path, kind):
    (tmp_path / "data").write_bytes(pack(kind, "./"))
    assert len(load_corpus(tmp_path / "data").train) == 20 * 7


@pytest.mark.parametrize("kind", ["DEFLATED", "tgz"])
def test_archives_that_unpack_to_far_too_much_are_refused(tmp_path, kind):
    (tmp_path / "data").write_bytes(pack(kind, text=b"a" * (30 << 20)))
    with pytest.raises(ValueError, match="unpacks to 94371840 bytes"):
        load_corpus(tmp_path / "data")


@pytest.mark.parametrize(
    "saved",
    [None, 3, "word", [], ["word"], ["word", 3], [1, ["a"]], ["word", ["a", 1]], {}],
)
def test_what_is_no_saved_vocabulary_is_refused(saved):
    with pytest.raises(ValueError, match="a saved vocabulary is a list of"):
        Vocabulary.from_json(saved)


def test_control_characters_of_texts_are_shown():
    assert console.harmless("a\x1b]0;x\x07\r\x9b\ud800\n") == (
        "a\\x1b]0;x\\x07\\r\\x9b\\ud800\n"
    )
