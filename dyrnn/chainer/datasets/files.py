"""Datasets that stay in files: lines of texts, and pickled objects."""

import io
import multiprocessing.util
import pickle
import threading

from dyrnn.chainer.dataset.bases import DatasetMixin


def _buffered(path):
    return io.BufferedReader(io.FileIO(path))


class TextDataset(DatasetMixin):
    """Lines of a text file, or tuples of the same lines of several.

    Parameters
    ----------
    paths : str or list of str
    encoding, errors, newline : str or list of str, optional
        As for ``open``.
    filter_func : callable, optional
        Takes the lines of an example, returns whether it is kept.
    """

    def __init__(
        self, paths, encoding=None, errors=None, newline=None, filter_func=None
    ):
        if isinstance(paths, str):
            paths = [paths]
        elif not paths:
            raise ValueError("at least one text file must be specified")
        options = [
            [option] * len(paths)
            if option is None or isinstance(option, str)
            else option
            for option in (encoding, errors, newline)
        ]
        if any(len(option) != len(paths) for option in options):
            raise ValueError(
                "length of each option must match with the number of text files to read"
            )
        self._paths = paths
        self._options = options
        self._open()
        self._bounds = [[0] for _ in self._fps]
        kept = []
        while True:
            lines = [fp.readline() for fp in self._fps]
            if not all(lines):
                if any(lines):
                    self.close()
                    raise ValueError("number of lines in files does not match")
                break
            if filter_func is None or filter_func(*lines):
                kept.append(len(self._bounds[0]) - 1)
            for bounds, fp in zip(self._bounds, self._fps, strict=True):
                bounds.append(fp.tell())
        self._lines = kept

    def _open(self):
        self._lock = threading.Lock()
        self._fps = [
            io.TextIOWrapper(_buffered(path), *options)
            for path, *options in zip(self._paths, *self._options, strict=True)
        ]

    def __getstate__(self):
        return {k: v for k, v in vars(self).items() if k not in ("_fps", "_lock")}

    def __setstate__(self, state):
        vars(self).update(state)
        self._open()

    def __len__(self):
        return len(self._lines)

    def close(self):
        """Close the files."""
        for fp in self._fps:
            fp.close()

    def get_example(self, idx):
        if not 0 <= idx < len(self._lines):
            raise IndexError
        number = self._lines[idx]
        with self._lock:
            for fp, bounds in zip(self._fps, self._bounds, strict=True):
                fp.seek(bounds[number])
            lines = tuple([fp.readline() for fp in self._fps])
        return lines[0] if len(lines) == 1 else lines


class PickleDatasetWriter:
    """Writes examples to a file of pickles; closes it after a ``with`` block."""

    def __init__(self, writer, protocol=pickle.HIGHEST_PROTOCOL):
        self._writer = writer
        self._protocol = protocol

    def close(self):
        """Close the file."""
        self._writer.close()

    def __enter__(self):
        return self

    def __exit__(self, exc_type, exc_value, traceback):
        self.close()

    def write(self, x):
        """Add an example."""
        pickle.dump(x, self._writer, protocol=self._protocol)

    def flush(self):
        """Flush the file, if it can."""
        if hasattr(self._writer, "flush"):
            self._writer.flush()


class PickleDataset(DatasetMixin):
    """Examples of a file that :class:`PickleDatasetWriter` has written.

    Unpickling runs code: open only files of a source that you trust.
    """

    def __init__(self, reader):
        if not reader.seekable():
            raise ValueError("reader must support random access")
        self._reader = reader
        self._positions = []
        reader.seek(0)
        while True:
            position = reader.tell()
            try:
                pickle.load(reader)
            except EOFError:
                break
            self._positions.append(position)
        self._prepare()

    def _prepare(self):
        self._lock = threading.RLock()
        multiprocessing.util.register_after_fork(self, PickleDataset._after_fork)

    def _after_fork(self):
        if callable(getattr(self._reader, "after_fork", None)):
            self._reader.after_fork()

    def __getstate__(self):
        return {k: v for k, v in vars(self).items() if k != "_lock"}

    def __setstate__(self, state):
        vars(self).update(state)
        self._prepare()

    def close(self):
        """Close the file."""
        with self._lock:
            self._reader.close()

    def __enter__(self):
        return self

    def __exit__(self, exc_type, exc_value, traceback):
        self.close()

    def __len__(self):
        return len(self._positions)

    def get_example(self, index):
        with self._lock:
            self._reader.seek(self._positions[index])
            return pickle.load(self._reader)


class _FileReader(io.RawIOBase):
    """A file that each process opens for itself: they would share its position."""

    def __init__(self, path):
        super().__init__()
        self._path = path
        self._open()

    def _open(self):
        self._fp = _buffered(self._path)

    def after_fork(self):
        """Open the file again."""
        self._fp.close()
        self._open()

    def __getstate__(self):
        return {k: v for k, v in vars(self).items() if k != "_fp"}

    def __setstate__(self, state):
        vars(self).update(state)
        self._open()

    def flush(self):
        if not self._fp.closed:
            self._fp.flush()

    def close(self):
        self._fp.close()

    def fileno(self):
        return self._fp.fileno()

    def seekable(self):
        return self._fp.seekable()

    def seek(self, offset, whence=io.SEEK_SET):
        return self._fp.seek(offset, whence)

    def tell(self):
        return self._fp.tell()

    def readinto(self, b):
        return self._fp.readinto(b)


def open_pickle_dataset(path):
    """Return the :class:`PickleDataset` of a file."""
    return PickleDataset(_FileReader(path))


def open_pickle_dataset_writer(path, protocol=pickle.HIGHEST_PROTOCOL):
    """Return a :class:`PickleDatasetWriter` to a new file."""
    return PickleDatasetWriter(open(path, "wb"), protocol)
