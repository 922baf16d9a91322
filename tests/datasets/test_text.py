"""Text files: what is read, and what is refused with which words."""

import io
import os
import pickle
import re
from concurrent.futures import ThreadPoolExecutor

import pytest

from dyrnn.datasets import TextDataset, read_text
from dyrnn.datasets import text as text_files


@pytest.fixture
def write(tmp_path):
    def write(content, name="text.txt"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def test_one_byte_order_mark_is_dropped(write):
    assert read_text(write(b"\xef\xbb\xbfa b\n")) == "a b\n"
    assert read_text(write(b"\xef\xbb\xbf\xef\xbb\xbfa\n")) == "\ufeffa\n"


def test_crlf_is_read_as_lf_and_a_lone_cr_is_kept(write):
    assert read_text(write("a\r\nb\r\n")) == "a\nb\n"
    assert read_text(write("a\rb\n")) == "a\rb\n"


def test_only_lf_ends_a_line(write):
    text = "a\u2028b\u0085c\x0bd\x1ee\nf"
    path = write(text)
    assert read_text(path) == text
    assert list(TextDataset(path)) == ["a\u2028b\u0085c\x0bd\x1ee\n", "f"]


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no file '.*nowhere\.txt'"):
        read_text(tmp_path / "nowhere.txt")


@pytest.mark.parametrize("content", ["", " \n\t\n", b"\xef\xbb\xbf"])
def test_a_blank_file_is_refused(write, content):
    with pytest.raises(ValueError, match=r"text\.txt' is empty or blank"):
        read_text(write(content))


def test_invalid_utf8_is_located(write):
    with pytest.raises(
        ValueError, match=r"line 2 is not UTF-8: byte 0xff at byte 5 of the file"
    ):
        read_text(write(b"ab\ncd\xffe\n"))
    with pytest.raises(ValueError, match=r"line 1 is not UTF-8: byte 0xe9 at byte 4"):
        read_text(write(b"\xef\xbb\xbfa\xe9"))


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le"])
def test_utf16_is_named(write, encoding):
    with pytest.raises(ValueError, match="UTF-16 byte order mark; UTF-8 is needed"):
        read_text(write("\ufeffabc\n".encode(encoding).lstrip(b"\0")))


def test_a_nul_byte_is_located(write):
    with pytest.raises(ValueError, match="line 3 has a NUL byte at byte 5"):
        read_text(write(b"a\nb\nc\0d\n"))


def test_what_is_no_regular_file_is_refused(tmp_path):
    with pytest.raises(ValueError, match="is a directory; a text file is needed"):
        read_text(tmp_path)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "fifo")
        with pytest.raises(ValueError, match="is a FIFO or a device; a text file"):
            read_text(tmp_path / "fifo")


def test_a_line_too_long_is_refused_without_reading_it_all(monkeypatch):
    monkeypatch.setattr(text_files, "MAX_LINE", 2**20)
    assert len(text_files.read_stream(io.BytesIO(b"a" * 2**21), "x")) == 2**21
    file = io.BytesIO(b"short\n" + b"a" * 2**22)
    with pytest.raises(ValueError, match="'x', line 2 is longer than 1 MiB"):
        list(text_files.lines_of(file, "x"))
    assert file.tell() < 2**21


def test_text_dataset_reads_lines_by_their_places(write):
    path = write("\ufeffone\ntwo\r\nthrée")
    dataset = TextDataset(path)
    assert len(dataset) == 3
    assert [dataset[i] for i in (2, 0, 1)] == ["thrée", "one\n", "two\n"]
    assert dataset[1:] == ["two\n", "thrée"]
    dataset.close()
    assert dataset[-1] == "thrée"
    assert list(TextDataset(write(""))) == []


def test_text_dataset_pairs_the_lines_of_several_files(write):
    paths = [write("a\nb\nc\n", "1"), write("x\ny\nz\n", "2")]
    assert list(TextDataset(paths)) == [("a\n", "x\n"), ("b\n", "y\n"), ("c\n", "z\n")]
    kept = TextDataset(paths, filter_func=lambda s, t: s != "b\n")
    assert list(kept) == [("a\n", "x\n"), ("c\n", "z\n")]
    with pytest.raises(ValueError, match=r"different numbers of lines: \[3, 1\]"):
        TextDataset([paths[0], write("x\n", "3")])
    with pytest.raises(ValueError, match="needs at least one file"):
        TextDataset([])


def test_text_dataset_refuses_bad_text_at_construction(write):
    with pytest.raises(ValueError, match="line 2 is not UTF-8"):
        TextDataset(write(b"a\n\xff\n"))


def test_text_dataset_can_be_pickled_and_shared_by_threads(write):
    lines = [f"line {i} {'x' * (i % 17)}\n" for i in range(300)]
    dataset = TextDataset(write("".join(lines)))
    copy = pickle.loads(pickle.dumps(dataset))
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(copy.__getitem__, range(300))) == lines
    assert not re.search("_io", str(copy.__getstate__()))
