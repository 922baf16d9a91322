"""Lines of texts that stay in their files."""

import threading

from dyrnn.chainer.dataset.bases import DatasetMixin, Reopened


class TextDataset(Reopened, DatasetMixin):
    """Lines of a text file, or tuples of the same lines of several.

    Parameters
    ----------
    paths : str or list of str
    encoding, errors, newline : str or list of str, optional
        As for ``open``.
    filter_func : callable, optional
        Takes the lines of an example, returns whether it is kept.
    """

    _open_names = ("_fps", "_lock")

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
            open(path, encoding=encoding, errors=errors, newline=newline)  # noqa: SIM115
            for path, encoding, errors, newline in zip(
                self._paths, *self._options, strict=True
            )
        ]

    def __len__(self):
        return len(self._lines)

    def close(self):
        """Close the files, all of them before an error is raised."""
        errors = []
        for fp in self._fps:
            try:
                fp.close()
            except Exception as error:
                errors.append(error)
        if errors:
            raise errors[-1]

    def get_example(self, idx):
        if not 0 <= idx < len(self._lines):
            raise IndexError
        number = self._lines[idx]
        with self._lock:
            for fp, bounds in zip(self._fps, self._bounds, strict=True):
                fp.seek(bounds[number])
            lines = tuple([fp.readline() for fp in self._fps])
        return lines[0] if len(lines) == 1 else lines
