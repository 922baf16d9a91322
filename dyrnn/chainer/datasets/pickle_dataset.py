"""Pickled examples, one after the other in a file."""

import io
import multiprocessing.util
import pickle
import threading

from dyrnn.chainer.dataset.bases import DatasetMixin, Reopened


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


class PickleDataset(Reopened, DatasetMixin):
    """Examples of a file that :class:`PickleDatasetWriter` has written.

    Unpickling runs code: open only files of a source that you trust.
    """

    _open_names = ("_lock",)

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
        self._open()

    def _open(self):
        self._lock = threading.RLock()
        multiprocessing.util.register_after_fork(self, PickleDataset._after_fork)

    def _after_fork(self):
        if callable(getattr(self._reader, "after_fork", None)):
            self._reader.after_fork()

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


class _FileReader(Reopened, io.RawIOBase):
    """A file that each process opens for itself: they would share its position."""

    _open_names = ("_fp",)

    def __init__(self, path):
        super().__init__()
        self._path = path
        self._open()

    def _open(self):
        self._fp = open(self._path, "rb")  # noqa: SIM115

    def after_fork(self):
        """Open the file again."""
        self._fp.close()
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
