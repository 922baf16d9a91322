"""Base classes of datasets and of iterators."""

import numpy as np


class Reopened:
    """Pickled without the attributes ``_open_names``, which ``_open`` makes again."""

    _open_names: tuple = ()

    def _open(self):
        raise NotImplementedError

    def __getstate__(self):
        return {k: v for k, v in vars(self).items() if k not in self._open_names}

    def __setstate__(self, state):
        vars(self).update(state)
        self._open()


class DatasetMixin:
    """A dataset by ``get_example(i)`` and ``__len__``; slices and lists come free."""

    def __getitem__(self, index):
        if isinstance(index, slice):
            index = range(*index.indices(len(self)))
        elif not isinstance(index, (list, np.ndarray)):
            return self.get_example(index)
        return [self.get_example(i) for i in index]

    def __len__(self):
        raise NotImplementedError

    def get_example(self, i):
        """Return example ``i``."""
        raise NotImplementedError


class Iterator:
    """Yields batches: override ``__next__``, and ``serialize`` if it has state."""

    def __del__(self):
        self.finalize()

    def __iter__(self):
        return self

    def __next__(self):
        raise NotImplementedError

    def next(self):
        """Return the next batch, as in Python 2."""
        return self.__next__()

    def finalize(self):
        """Free what the iterator holds."""

    def __enter__(self):
        return self

    def __exit__(self, exc_type, exc_value, traceback):
        self.finalize()

    def serialize(self, serializer):
        """Save or load where the iterator is."""
