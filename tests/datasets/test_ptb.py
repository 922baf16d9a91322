"""Corpora: the Penn Treebank's files, any text, Python's text, and the download."""

import hashlib
import http.server
import os
import tarfile
import threading
import urllib.request
import zipfile

import numpy as np
import pytest

from dyrnn import datasets
from dyrnn.datasets import Vocabulary, load_corpus, ptb, ptb_raw_data

FILES = {
    "ptb.train.txt": " a b a \n the a <unk> \n",
    "ptb.valid.txt": " b the \n",
    "ptb.test.txt": " <unk> a \n b \n",
}


@pytest.fixture
def directory(tmp_path):
    folder = tmp_path / "simple-examples" / "data"
    folder.mkdir(parents=True)
    for name, text in FILES.items():
        (folder / name).write_text(text)
    return tmp_path


def ids(corpus):
    return [part.tolist() for part in corpus[:3]]


def test_treebank_words_are_numbered_as_in_the_tutorial(directory):
    corpus = load_corpus(directory)
    assert corpus.vocabulary.words == ["a", "<eos>", "<unk>", "b", "the"]
    assert ids(corpus) == [[0, 3, 0, 1, 4, 0, 2, 1], [3, 4, 1], [2, 0, 1, 3, 1]]
    assert corpus.train.dtype == np.int32
    assert ids(load_corpus(directory / "simple-examples")) == ids(corpus)


def test_a_zip_gives_what_its_directory_gives(directory, tmp_path):
    path = tmp_path / "ptb.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in FILES.items():
            archive.writestr(f"__MACOSX/data/{name}", b"\0junk")
            archive.writestr(f"deep/er/{name}", "other text\n")
            archive.writestr(f"data/{name}", text)
    assert ids(load_corpus(path)) == ids(load_corpus(directory))


def test_the_tgz_of_the_tutorial_gives_what_its_directory_gives(directory, tmp_path):
    path = tmp_path / "simple-examples.tgz"
    with tarfile.open(path, "w:gz") as archive:
        archive.add(directory / "simple-examples", "./simple-examples")
    assert ids(load_corpus(path)) == ids(load_corpus(directory))
    assert load_corpus(path, size=3).vocabulary.words == ["<unk>", "a", "<eos>"]
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ValueError, match=r"simple-examples\.tgz.* cannot be unpacked"):
        load_corpus(path)


def test_raw_data_are_the_ids_of_the_tutorial_to_the_letter(directory):
    *parts, size = ptb_raw_data(directory)
    corpus = load_corpus(directory)
    assert [part.tolist() for part in parts] == ids(corpus)
    assert size == len(corpus.vocabulary) == 5
    lines = [" hello there i am", " rain as day", " want some cheesy puffs ?"]
    for name in FILES:
        next(directory.rglob(name)).write_text("\n".join(lines))
    train, valid, test, size = ptb_raw_data(directory)
    assert train.tolist() == [5, 10, 6, 1, 8, 2, 4, 11, 9, 3, 7, 0]
    assert train.tolist() == valid.tolist() == test.tolist() and size == 12
    # No blank is before the line's end, so "am<eos>" is one word; here it is two.
    assert len(load_corpus(directory).train) == 15
    next(directory.rglob("ptb.test.txt")).write_text(" rain on day\n")
    assert ptb_raw_data(directory)[2].tolist() == [8, 4]


def test_raw_data_want_the_three_files(tmp_path):
    (tmp_path / "text.txt").write_text("a b\n" * 30)
    with pytest.raises(ValueError, match=r"text\.txt' is one text file; give a"):
        ptb_raw_data(tmp_path / "text.txt")


def test_crlf_bom_and_a_missing_last_line_end_change_no_ids(directory):
    expected = ids(load_corpus(directory))
    for path in directory.rglob("*.txt"):
        text = path.read_text().removesuffix("\n").replace("\n", "\r\n")
        path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert ids(load_corpus(directory)) == expected


def test_what_is_missing_is_named(directory, tmp_path):
    with pytest.raises(FileNotFoundError, match="no file or directory 'nowhere'. Give"):
        load_corpus("nowhere")
    next(directory.rglob("ptb.valid.txt")).unlink()
    with pytest.raises(
        FileNotFoundError, match=r"no ptb\.valid\.txt at any depth; .*ptb\.test\.txt"
    ):
        load_corpus(directory)
    with zipfile.ZipFile(tmp_path / "empty.zip", "w") as archive:
        archive.writestr("data/readme.md", "x")
    with pytest.raises(
        FileNotFoundError, match=r"no ptb\.train\.txt and no .*found: none"
    ):
        load_corpus(tmp_path / "empty.zip")


def test_a_word_that_training_lacks_is_an_error_without_unk(directory):
    next(directory.rglob("ptb.train.txt")).write_text("a b\nthe a\n")
    with pytest.raises(
        ValueError, match="test part of the text: word '<unk>' in line 1 is not in the"
    ):
        load_corpus(directory)


def test_bad_bytes_in_a_zip_name_the_member(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for name in FILES:
            archive.writestr(f"d/{name}", b"a\n\xff")
    with pytest.raises(ValueError, match=r"x\.zip/d/ptb\.train\.txt', line 2 is not"):
        load_corpus(tmp_path / "x.zip")


def test_a_damaged_zip_is_refused(directory, tmp_path):
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in FILES.items():
            archive.writestr(name, text)
    path.write_bytes(path.read_bytes().replace(b" a b a ", b" a b b "))
    with pytest.raises(ValueError, match=r"train\.txt' cannot be unpacked: Bad CRC"):
        load_corpus(path)


def test_a_text_file_is_split_at_lines(tmp_path):
    path = tmp_path / "text.txt"
    lines = [f"line {i % 10} of many\n" for i in range(200)]
    path.write_text("".join(lines))
    corpus = load_corpus(path)
    assert [len(part) for part in corpus[:3]] == [181 * 5, 10 * 5, 9 * 5]
    assert all(part[-1] == corpus.vocabulary.ids["<eos>"] for part in corpus[:3])
    decoded = "".join(corpus.vocabulary.decode(part) for part in corpus[:3])
    assert decoded == "".join(lines)
    assert "<unk>" in corpus.vocabulary


def test_words_seen_once_become_unk_in_a_text_file(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("a b\n" * 50 + "once a\n" + "a b\n" * 50)
    corpus = load_corpus(path)
    assert "once" not in corpus.vocabulary
    assert (corpus.train == corpus.vocabulary.ids["<unk>"]).sum() == 1


@pytest.mark.parametrize("level", ["char", "subword"])
def test_characters_and_subwords_hold_the_whole_text(tmp_path, level):
    path = tmp_path / "text.txt"
    text = "Some words, some  spaces\tand signs.\n" * 40
    path.write_text(text)
    corpus = load_corpus(path, level, syllables=20)
    decoded = "".join(corpus.vocabulary.decode(part) for part in corpus[:3])
    assert decoded == text


def test_one_long_line_is_split_between_words():
    parts = datasets.split_text("word " * 100)
    assert [len(part) for part in parts] == [455, 25, 20]
    assert [len(part) for part in datasets.split_text("x" * 100)] == [90, 5, 5]


def test_a_text_too_short_to_split_is_refused(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("a b\n")
    with pytest.raises(
        ValueError, match="valid part of the text has 0 words; at least"
    ):
        load_corpus(path)


def test_a_given_vocabulary_is_used(directory):
    vocabulary = Vocabulary(["<unk>", "<eos>", "a"])
    corpus = load_corpus(directory, vocabulary=vocabulary)
    assert corpus.vocabulary is vocabulary
    assert ids(corpus)[0] == [2, 0, 2, 1, 0, 2, 0, 1]


@pytest.mark.parametrize("level", ["word", "char", "subword"])
def test_pythons_own_text_is_a_corpus(level):
    corpus = load_corpus(level=level)
    tokens = sum(len(part) for part in corpus[:3])
    assert tokens > (50_000 if level == "word" else 80_000)
    assert len(corpus.vocabulary) < 10_000
    assert all(len(part) > tokens // 50 for part in corpus[:3])
    if level == "word":
        assert corpus.train.tolist() == load_corpus().train.tolist()
        unknown = corpus.vocabulary.ids["<unk>"]
        shares = [(part == unknown).mean() for part in corpus[:3]]
        assert 0 < max(shares) < 0.15
        assert {"the", "N", ".", "<eos>"} <= set(corpus.vocabulary.words[:20])
    else:
        decoded = corpus.vocabulary.decode(corpus.train)
        assert datasets.python_text(level).startswith(decoded)


CONTENT = bytes(range(256)) * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def server():
    """A file server on this machine; ``asked`` counts the requests."""

    class Handler(http.server.BaseHTTPRequestHandler):
        asked = 0
        lost = 0  # bytes that the connection loses at the end

        def do_GET(self):
            Handler.asked += 1
            self.send_response(200)
            self.send_header("Content-Length", str(len(CONTENT)))
            self.end_headers()
            self.wfile.write(CONTENT[: len(CONTENT) - self.lost])

        def log_message(self, *args):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        Handler.url = f"http://127.0.0.1:{running.server_port}/file"
        yield Handler
        running.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def direct(monkeypatch):
    """No proxy between the tests and their own server."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    urllib.request.install_opener(
        urllib.request.build_opener(urllib.request.ProxyHandler({}))
    )
    yield
    urllib.request.install_opener(None)


def test_a_download_is_whole_or_not_there(server, tmp_path):
    path = tmp_path / "new" / "file.txt"
    assert ptb.download(server.url, path, SHA256) == path
    assert path.read_bytes() == CONTENT
    assert os.listdir(path.parent) == ["file.txt"]
    ptb.download(server.url, path, SHA256)
    assert server.asked == 1


def test_an_interrupted_download_leaves_nothing(server, tmp_path):
    path = tmp_path / "file.txt"
    server.lost = 1000
    with pytest.raises(OSError, match=r"cannot download http.*: Incomplete.*text file"):
        ptb.download(server.url, path, SHA256)
    assert os.listdir(tmp_path) == []


def test_what_never_ends_is_given_up(server, tmp_path, monkeypatch):
    monkeypatch.setattr(ptb, "_LARGEST", len(CONTENT) - 1)
    with pytest.raises(OSError, match="the server sends more than"):
        ptb.download(server.url, tmp_path / "file.txt", SHA256)
    with pytest.raises(OSError, match=r"cannot download http://\[::x: Invalid IPv6"):
        ptb.download("http://[::x", tmp_path / "file.txt", SHA256)
    assert os.listdir(tmp_path) == []


def test_a_wrong_checksum_leaves_nothing(server, tmp_path):
    with pytest.raises(ValueError, match="has sha256 .* but 00ff was expected"):
        ptb.download(server.url, tmp_path / "file.txt", "00ff")
    assert os.listdir(tmp_path) == []


def test_without_a_network_the_error_says_what_else_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(ptb, "PTB_URL", "http://127.0.0.1:9/")
    with pytest.raises(OSError, match="Without a network, give a directory or zip"):
        load_corpus("ptb", cache=tmp_path)


def test_the_treebank_is_downloaded_once(server, tmp_path, monkeypatch):
    monkeypatch.setattr(ptb, "PTB_URL", server.url + "/")
    monkeypatch.setattr(ptb, "PTB_SHA256", dict.fromkeys(ptb.PTB_SHA256, SHA256))
    folder = datasets.download_ptb(tmp_path)
    assert sorted(os.listdir(folder)) == sorted(ptb.PTB_SHA256)
    datasets.download_ptb(tmp_path)
    assert server.asked == 3


def test_no_home_is_said(monkeypatch):
    def no_home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr("dyrnn.datasets.ptb.Path.home", no_home)
    with pytest.raises(FileNotFoundError, match="set HOME"):
        datasets.download_ptb()
