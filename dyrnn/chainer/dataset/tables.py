"""Datasets with named columns: ``chainer.dataset.tabular``.

A table is asked for columns of rows, ``get_examples(rows, columns)``, so what is not
needed is not read. Rows are None (all), a slice or a list; columns None or numbers.
``mode`` says what an example is: a tuple, a dict, or, if None, a single value.
"""

import numbers

import numpy as np

from dyrnn.chainer import backend
from dyrnn.chainer._backend import array_types
from dyrnn.chainer.dataset.bases import DatasetMixin
from dyrnn.datasets.convert import call_with


class TabularDataset(DatasetMixin):
    """Base class: say ``__len__``, ``keys``, ``mode`` and ``get_examples``."""

    def __len__(self):
        raise NotImplementedError

    @property
    def keys(self):
        """Names of the columns, a tuple."""
        raise NotImplementedError

    @property
    def mode(self):
        """What an example is: ``tuple``, ``dict`` or None."""
        raise NotImplementedError

    def get_examples(self, indices, key_indices):
        """Return a tuple of columns, each a list or array of the rows' values."""
        raise NotImplementedError

    @property
    def slice(self):
        """Part of the rows and columns: ``table.slice[rows, keys]``."""
        return _SliceHelper(self)

    def fetch(self):
        """Return all columns."""
        return _as_mode(self, self.get_examples(None, None))

    def convert(self, data):
        """Return columns of a batch as arrays."""
        if isinstance(data, tuple):
            return tuple([_as_array(column) for column in data])
        if isinstance(data, dict):
            return {key: _as_array(column) for key, column in data.items()}
        return _as_array(data)

    def astuple(self):
        """Return the table with tuples as examples."""
        return _AsMode(self, tuple)

    def asdict(self):
        """Return the table with dictionaries as examples."""
        return _AsMode(self, dict)

    def concat(self, *datasets):
        """Return the rows of this table and of others, one after the other."""
        return _Concat(self, *datasets)

    def join(self, *datasets):
        """Return the columns of this table and of others, side by side."""
        return _Join(self, *datasets)

    def transform(self, keys, transform):
        """Return a table whose columns ``keys`` are computed from each example."""
        return _Transform(self, keys, transform)

    def transform_batch(self, keys, transform_batch):
        """Return a table whose columns ``keys`` are computed from whole columns."""
        return _TransformBatch(self, keys, transform_batch)

    def with_converter(self, converter):
        """Return the table with a function of columns as its ``convert``."""
        return _WithConverter(self, converter)

    def get_example(self, i):
        columns = self.get_examples([i], None)
        return _as_mode(self, tuple([column[0] for column in columns]))

    def __iter__(self):
        return (self.get_example(i) for i in range(len(self)))


def _as_mode(dataset, values):
    if dataset.mode is tuple:
        return values
    if dataset.mode is dict:
        return dict(zip(dataset.keys, values, strict=True))
    return values[0]


def _as_array(data):
    if isinstance(data, array_types()):
        return data
    device = backend.get_device_from_array(data[0])
    with backend.using_device(device):
        return device.xp.asarray(data)


class _Derived(TabularDataset):
    """A table that differs from another one in a method."""

    def __init__(self, dataset):
        self._dataset = dataset

    def __len__(self):
        return len(self._dataset)

    @property
    def keys(self):
        return self._dataset.keys

    @property
    def mode(self):
        return self._dataset.mode

    def get_examples(self, indices, key_indices):
        return self._dataset.get_examples(indices, key_indices)

    def convert(self, data):
        return self._dataset.convert(data)


class DelegateDataset(_Derived):
    """Base class of tables around another one, ``self.dataset``."""

    def __init__(self, dataset):
        super().__init__(dataset)
        self.dataset = dataset

    convert = TabularDataset.convert


class _AsMode(_Derived):
    mode = None

    def __init__(self, dataset, mode):
        super().__init__(dataset)
        self.mode = mode


class _WithConverter(_Derived):
    def __init__(self, dataset, converter):
        super().__init__(dataset)
        self._converter = converter

    def convert(self, data):
        return call_with(self._converter, data)


class _SliceHelper:
    def __init__(self, dataset):
        self._dataset = dataset

    def __getitem__(self, args):
        indices, keys = args if isinstance(args, tuple) else (args, None)
        return _Slice(self._dataset, indices, keys)


class _Slice(_Derived):
    def __init__(self, dataset, indices, keys):
        super().__init__(dataset)
        self._is_single = keys is not None and not isinstance(keys, tuple)
        self._indices = _as_indices(indices, len(dataset))
        self._key_indices = None
        if keys is not None:
            keys = (keys,) if self._is_single else keys
            self._key_indices = tuple([_key_index(k, dataset.keys) for k in keys])

    def __len__(self):
        return len(_rows(self._indices, len(self._dataset)))

    @property
    def keys(self):
        keys = self._dataset.keys
        if self._key_indices is None:
            return keys
        return tuple([keys[i] for i in self._key_indices])

    @property
    def mode(self):
        if self._key_indices is None:
            return self._dataset.mode
        return None if self._is_single else self._dataset.mode or tuple

    def get_examples(self, indices, key_indices):
        own = self._key_indices
        if own is not None and key_indices is not None:
            key_indices = tuple([own[i] for i in key_indices])
        elif key_indices is None:
            key_indices = own
        if indices is None:
            indices = self._indices
        else:
            rows = _rows(self._indices, len(self._dataset))
            if isinstance(indices, slice):
                chosen = rows[indices]
                is_range = isinstance(chosen, range)
                indices = _as_slice(chosen) if is_range else list(chosen)
            else:
                indices = [rows[i] for i in indices]
        return self._dataset.get_examples(indices, key_indices)


def _rows(indices, size):
    """Return the numbers of the rows, a range or a list."""
    if indices is None:
        return range(size)
    return range(*indices.indices(size)) if isinstance(indices, slice) else indices


def _as_slice(rows):
    stop = rows.stop
    if not rows:
        return slice(0, 0)
    return slice(rows.start, None if stop < 0 else stop, rows.step)


def _as_indices(indices, size):
    if isinstance(indices, slice) or len(indices) == 0:
        return indices
    if all(isinstance(index, (bool, np.bool_)) for index in indices):
        if len(indices) != size:
            raise ValueError(
                "The number of booleans is different from the length of dataset"
            )
        return [i for i, is_in in enumerate(indices) if is_in]
    return [_index(int(index), size, "dataset") for index in indices]


def _index(index, size, what):
    if not -size <= index < size:
        raise IndexError(f"index {index} is out of bounds for {what} with size {size}")
    return index % size


def _key_index(key, keys):
    if isinstance(key, numbers.Integral):
        return _index(key, len(keys), "keys")
    if key not in keys:
        raise KeyError(f"{key} does not exists")
    return keys.index(key)


class _Concat(TabularDataset):
    def __init__(self, *datasets):
        if any(dataset.keys != datasets[0].keys for dataset in datasets):
            raise ValueError("All datasets must have the same keys")
        self._datasets = datasets

    def __len__(self):
        return sum([len(dataset) for dataset in self._datasets])

    keys = property(lambda self: self._datasets[0].keys)
    mode = property(lambda self: self._datasets[0].mode)

    def convert(self, data):
        return self._datasets[0].convert(data)

    def get_examples(self, indices, key_indices):
        n_columns = len(self.keys if key_indices is None else key_indices)
        rows = _rows(indices, len(self))
        parts, places, offset = [], {}, 0
        for dataset in self._datasets:
            size = len(dataset)
            found = [i for i, row in enumerate(rows) if offset <= row < offset + size]
            own = [rows[i] - offset for i in found]
            if own:
                places.update((i, (len(parts), k)) for k, i in enumerate(found))
                if indices is None:
                    own = None
                elif isinstance(indices, slice):
                    stop = min(max(rows.stop - offset, -1), size)
                    own = _as_slice(range(own[0], stop, rows.step))
                parts.append(dataset.get_examples(own, key_indices))
            offset += size
        if len(parts) == 1 and len(places) == len(rows):
            return parts[0]
        order = [places[i] for i in sorted(places)]
        return tuple([[parts[p][c][k] for p, k in order] for c in range(n_columns)])


class _Join(TabularDataset):
    def __init__(self, *datasets):
        keys = [key for dataset in datasets for key in dataset.keys]
        if any(len(dataset) != len(datasets[0]) for dataset in datasets):
            raise ValueError("All datasets must have the same length")
        if len(set(keys)) != len(keys):
            raise ValueError("All keys must be unique among all datasets")
        self._datasets = datasets

    def __len__(self):
        return len(self._datasets[0])

    @property
    def keys(self):
        return tuple([key for dataset in self._datasets for key in dataset.keys])

    @property
    def mode(self):
        return next((d.mode for d in self._datasets if d.mode), tuple)

    def convert(self, data):
        return self._datasets[0].convert(data)

    def get_examples(self, indices, key_indices):
        columns, offset = {}, 0
        for dataset in self._datasets:
            numbers_ = range(offset, offset + len(dataset.keys))
            wanted = None
            if key_indices is not None:
                numbers_ = [i for i in dict.fromkeys(key_indices) if i in numbers_]
                wanted = tuple([i - offset for i in numbers_])
            if numbers_:
                found = dataset.get_examples(indices, wanted)
                columns.update(zip(numbers_, found, strict=True))
            offset += len(dataset.keys)
        chosen = columns if key_indices is None else key_indices
        return tuple([columns[i] for i in chosen])


class _Transform(_Derived):
    """Columns by a function of each example; its first result tells the mode."""

    _name = "transform"

    def __init__(self, dataset, keys, function):
        super().__init__(dataset)
        self._keys = keys if isinstance(keys, tuple) else (keys,)
        self._function = function
        self._modes = []

    @property
    def keys(self):
        return self._keys

    @property
    def mode(self):
        if not self._modes:
            self.get_examples([0], None)
        return self._modes[0]

    def _call(self, values):
        """Return what the function gives, a tuple in the order of the keys."""
        if self._dataset.mode is dict:
            names = self._dataset.keys
            result = self._function(**dict(zip(names, values, strict=True)))
        else:
            result = self._function(*values)
        mode = next((kind for kind in (tuple, dict) if isinstance(result, kind)), None)
        self._modes = self._modes or [mode]
        if mode is not self._modes[0]:
            raise ValueError(f"{self._name} must not change its return type")
        if mode is dict:
            return tuple([result[key] for key in self._keys])
        return result if mode is tuple else (result,)

    def get_examples(self, indices, key_indices):
        chosen = range(len(self._keys)) if key_indices is None else key_indices
        columns = self._dataset.get_examples(indices, None)
        rows = [self._call(values) for values in zip(*columns, strict=True)]
        return tuple([[row[i] for row in rows] for i in chosen])


class _TransformBatch(_Transform):
    """Columns by a function of columns."""

    _name = "transform_batch"

    def get_examples(self, indices, key_indices):
        chosen = range(len(self._keys)) if key_indices is None else key_indices
        columns = self._call(self._dataset.get_examples(indices, None))
        size = len(_rows(indices, len(self)))
        if any(len(column) != size for column in columns):
            raise ValueError("transform_batch must not change the length of data")
        return tuple([columns[i] for i in chosen])


class _Column(TabularDataset):
    """One array, list or range as a table."""

    mode = None

    def __init__(self, key, data):
        self._key = key
        self._data = data

    def __len__(self):
        return len(self._data)

    @property
    def keys(self):
        return (self._key,)

    def get_examples(self, indices, key_indices):
        data = self._data
        if indices is not None:
            if isinstance(indices, slice) or isinstance(data, array_types()):
                data = data[indices]
            else:
                data = [data[i] for i in indices]
        if isinstance(data, range):
            data = list(data)
        return (data,) * (1 if key_indices is None else len(key_indices))


def from_data(data, *, size=None):
    """Return a table of arrays, lists and functions of the row's number.

    Parameters
    ----------
    data : array, list, callable, (key, column), a tuple of these, or a dict
    size : int, optional
        Number of rows, for functions only.
    """
    if isinstance(data, dict):
        columns = list(data.items())
    elif isinstance(data, tuple) and not (len(data) == 2 and _is_key(data[0])):
        columns = [item if isinstance(item, tuple) else (None, item) for item in data]
    else:
        key, column = data if isinstance(data, tuple) else (None, data)
        return _make_dataset(key, column, size)
    for _, column in columns:
        if size is None and hasattr(column, "__len__"):
            size = len(column)
    first, *others = [_make_dataset(key, column, size) for key, column in columns]
    joined = first.join(*others)
    return joined.asdict() if isinstance(data, dict) else joined.astuple()


def _is_key(key):
    keys = key if isinstance(key, tuple) else (key,)
    return all(isinstance(k, str) for k in keys)


def _make_dataset(key, data, size):
    if isinstance(data, (list, *array_types())):
        return _Column(f"_{id(data)}" if key is None else key, data)
    if not callable(data):
        raise TypeError(f"a column is an array, a list or a function, not {type(data)}")
    if key is None:
        raise ValueError("key(s) must be specified for callable")
    if size is None:
        raise ValueError("size must be specified for callable")
    return _Column("index", range(size)).transform(key, data)
