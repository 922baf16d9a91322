"""One method saves and loads: ``self.n = s("n", self.n)``, ``self.l.serialize(s["l"])``

An object's ``serialize(self, s)`` names each piece of its state once. A :class:`Saver`
keeps the value and returns it; a :class:`Loader` returns the value of the file in its
place, or writes it into the array it was given. ``s.loading`` tells which is going on.
Keys of nested objects form paths: ``predictor/l1/upward/W``.
"""

import copy

import numpy as np

from dyrnn.backend import device_of, is_array, to_cpu
from dyrnn.errors import SnapshotError
from dyrnn.serializers.archive import describe, name_problem, storable
from dyrnn.serializers.manifest import NAME, decode_value, encode_value
from dyrnn.serializers.writer import Contents

_MODEL = "model:main"
_KINDS = {
    bool: "a boolean",
    int | float: "a number",
    str: "a string",
    list | tuple: "a list",
    dict: "a dictionary",
}


_TOO_LARGE = 1 << 96  # for any count, and for a float without a loss of range


class Serializer:
    """What ``serialize`` methods are given.

    Attributes
    ----------
    loading : bool
        Whether values come from a file, or go into one.
    """

    loading = False
    _path = ""

    def __getitem__(self, key):
        """Return the serializer of a part; its keys start with ``key`` and a slash."""
        part = copy.copy(self)  # which shares all but the path
        part._path = self._key(key) + "/"
        return part

    def _key(self, key):
        return self._path + key.strip("/")

    def __call__(self, key, value):
        """Save ``value`` and return it, or return what was saved instead of it.

        Values are arrays of any backend, numbers, strings, None, and lists, tuples and
        dictionaries of these. An array is loaded into ``value`` itself, which must
        have the same dtype and shape; with None for the value, the stored array is
        returned as a new one of NumPy.
        """
        raise NotImplementedError

    def has(self, key):
        """Whether there is a value: a file may be older than the key."""
        return True


def count(s, key, value):
    """Save or load a whole number from 0 on."""
    found = s(key, value)
    if s.loading and not (type(found) is int and found >= 0):
        raise SnapshotError(f"{key} is {found!r:.80} in the file, but it is a count")
    return found


class Saver(Serializer):
    """Collects the state of an object in memory.

    Attributes
    ----------
    contents : Contents
        What was saved: ``arrays`` and ``values``.

    Parameters
    ----------
    copy : bool
        Copy arrays of the CPU, so that later changes do not reach the contents.
    """

    def __init__(self, copy=False):
        self.contents = Contents({}, {})
        self._copy = copy

    def __call__(self, key, value):
        path = self._key(key)
        problem = name_problem(path)
        if path == NAME:
            problem = "it is reserved"
        if problem:
            raise ValueError(f"cannot save under the key {path!r}: {problem}")
        if path in self.contents.arrays or path in self.contents.values:
            raise ValueError(f"two values are saved under the key {path!r}")
        if is_array(value) or isinstance(value, np.number | np.bool_):
            self.contents.arrays[path] = self._array(path, value)
        else:
            try:
                self.contents.values[path] = encode_value(value)
            except (TypeError, ValueError) as error:
                raise type(error)(f"{path}: {error}") from None
        return value

    def _array(self, path, value):
        array = storable(to_cpu(value) if is_array(value) else np.asarray(value))
        if array is None:
            raise TypeError(
                f"{path}: an array of dtype {value.dtype} cannot be saved: use "
                "booleans, integers, or floats of 16, 32 or 64 bits"
            )
        shared = isinstance(value, np.ndarray) and np.may_share_memory(array, value)
        return array.copy() if self._copy and shared else array


def capture(obj, copy=False):
    """Return the :class:`Contents` of ``obj``; with ``copy``, independent of it."""
    saver = Saver(copy)
    obj.serialize(saver)
    return saver.contents


class Loader(Serializer):
    """Gives an object the state that a file holds.

    What does not fit is noted, not raised, so that :meth:`finish` can name everything
    at once; until then the object has its own value there. :meth:`undo` puts arrays
    back that were written to. :func:`dyrnn.serializers.load_npz` does both.

    Parameters
    ----------
    reader : SnapshotReader
        The open file.
    path : str
        Load from here within the file.
    ignore : callable
        Whether to leave a key alone.
    """

    loading = True

    def __init__(self, reader, path="", ignore=lambda key: False):
        self._reader = reader
        self._root = self._path = f"{path.strip('/')}/" if path.strip("/") else ""
        self._ignore = ignore
        self._used: set[str] = set()
        self._missing: list[str] = []
        self._mismatches: list[str] = []
        self._overwritten: list[tuple] = []

    def __call__(self, key, value):
        path = self._key(key)
        if self._ignore(path):
            return value
        if path not in self._reader:
            self._missing.append(path)
            return value
        self._used.add(path)
        if path in self._reader.values:
            return self._fitting(path, value, self._reader.values[path])
        if is_array(value):
            return self._fill(path, value)
        stored = self._reader.read_array(path)
        if value is None:
            return stored
        if not stored.ndim:  # a number of NumPy; other programs store any number so
            is_ours = self._reader.manifest is not None
            stored = stored[()] if is_ours else stored.item()
        return self._fitting(path, value, stored)

    def has(self, key):
        return self._key(key) in self._reader

    def _fill(self, path, value):
        expected = np.dtype(value.dtype), tuple(value.shape)
        found = self._reader.kind(path)
        if found != expected:
            self._mismatch(path, describe(*found), describe(*expected))
            return value
        stored = self._reader.read_array(path, expected)
        self._overwritten.append((value, np.array(to_cpu(value))))
        value[...] = device_of(value).send(stored)
        return value

    def _fitting(self, path, value, stored):
        if value is None or (stored is None and not is_array(value)):
            return stored
        if _kind(value) != _kind(stored):
            self._mismatch(path, _kind(stored), _kind(value))
            return value
        if type(stored) is int and abs(stored) >= _TOO_LARGE:
            self._mismatch(path, "a number out of range", f"less than {_TOO_LARGE}")
            return value
        return tuple(stored) if isinstance(value, tuple) else stored

    def _mismatch(self, path, found, expected):
        self._mismatches.append(f"{path}: the file has {found}, expected {expected}")

    def finish(self, strict=True):
        """Raise one error that names all that did not fit.

        Without ``strict``, keys may be missing from the file, or from the object.
        """
        problems = []
        if self._mismatches:
            # A model's arrays first: what an optimizer keeps for them has their shapes.
            mismatches = sorted(self._mismatches, key=lambda text: _MODEL not in text)
            problems.append(_listed(mismatches, 6, "; "))
        unused = [key for key in self._reader if key not in self._used]
        extra = [k for k in unused if k.startswith(self._root) and not self._ignore(k)]
        if strict and self._missing:
            problems.append(f"not in the file: {_listed(self._missing)}")
        if strict and extra:
            problems.append(f"only in the file: {_listed(extra)}")
        if problems:
            problems += self._hint([*self._missing, *extra])
            raise SnapshotError(f"{self._reader.path}: {'. '.join(problems)}")

    def _hint(self, keys):
        """Yield what is likely to be the reason why ``keys`` are on one side only."""
        of_trainer = ("extensions/", "extension_triggers/")
        if self._mismatches:
            yield "The object must have the sizes and dtypes it was saved with"
        elif not self._used and any(key.startswith("updater/") for key in keys):
            if any(key.startswith("updater/") for key in self._missing):
                yield "The file is not a snapshot of a trainer: load it into its object"
            else:
                yield (
                    "The file is a snapshot of a trainer: path_in_file="
                    f"'updater/{_MODEL}' loads its model"
                )
        elif not self._used:
            yield "The file is of another object"
        elif all(key.startswith(of_trainer) for key in keys):
            yield (
                "The trainer must have the extensions it was saved with, by the same "
                "names, before the file is loaded"
            )

    def undo(self):
        """Give arrays that were written to the contents they had."""
        for target, original in reversed(self._overwritten):
            target[...] = device_of(target).send(original)


class Restorer(Serializer):
    """Gives an object back what it had, from the :class:`Keeper` it was saved to."""

    loading = True

    def __init__(self, kept):
        self._kept = kept

    def __call__(self, key, value):
        return self._kept.get(self._key(key), value)


class Keeper(Serializer):
    """Remembers the very values an object has, so that a failed load can be undone."""

    def __init__(self):
        self.kept = {}

    def __call__(self, key, value):
        # Arrays are undone in place; lists may be changed in place, so keep a copy.
        kept = value
        if isinstance(value, list | dict):
            kept = decode_value(encode_value(value))
        self.kept[self._key(key)] = kept
        return value


def _kind(value):
    if is_array(value):
        return describe(value.dtype, value.shape)
    if isinstance(value, np.generic):
        value = value.item()
    for kind, name in _KINDS.items():  # a boolean is an integer, too
        if isinstance(value, kind):
            return name
    return str(value)


def _listed(texts, most=20, separator=", "):
    more = f" and {len(texts) - most} more" if len(texts) > most else ""
    return separator.join(texts[:most]) + more
