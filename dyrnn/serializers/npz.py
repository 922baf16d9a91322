"""Whole objects to npz files and back."""

import os
from typing import Any

from dyrnn.errors import SnapshotError
from dyrnn.serializers.origin import environment
from dyrnn.serializers.protocol import Keeper, Loader, Restorer, capture
from dyrnn.serializers.reader import SnapshotReader
from dyrnn.serializers.writer import write_snapshot
from dyrnn.typing import PathLike


def save_npz(
    path: PathLike, obj: Any, metadata: dict | None = None, verify: bool = False
) -> None:
    """Save the state of ``obj``: atomically, durably, and the same bytes each time.

    Parameters
    ----------
    path : str or path-like
        The file; one that exists is replaced as a whole.
    obj : object
        With a method ``serialize(s)``: a link, an optimizer, a trainer.
    metadata : dict, optional
        Kept in the file's manifest, for :func:`read_manifest`: numbers, strings, None,
        lists and dictionaries, such as a vocabulary or the settings of a run.
    verify : bool
        Read the data back and check it before the file gets its name.

    Raises
    ------
    OSError
        If writing fails. A file called ``path`` is then as it was before.
    """
    _check_order("save_npz", path, obj)
    write_snapshot(path, capture(obj), metadata, environment(), verify)


def load_npz(
    path: PathLike,
    obj: Any,
    path_in_file: str = "",
    strict: bool = True,
    ignore_names: Any = None,
) -> None:
    """Load the state of ``obj``, all of it or nothing.

    Parameters
    ----------
    path : str or path-like
        A file of :func:`save_npz`, or a plain npz file of another program.
    obj : object
        With a method ``serialize(s)``. After an error it has the state it had before.
    path_in_file : str
        Where the object is in the file: ``"updater/model:main"`` loads a model alone
        from the snapshot of a trainer.
    strict : bool
        Whether keys may be missing neither in the file nor in the object.
    ignore_names : str, callable, or list of these, optional
        Keys of the file, or tests for keys, that are not loaded.

    Raises
    ------
    OSError
        If there is no such file, or it may not be opened.
    SnapshotError
        If the file is damaged, or does not fit to ``obj``: all keys that are missing,
        left over, or of another shape or dtype are named.
    """
    _check_order("load_npz", path, obj)
    keeper = Keeper()
    obj.serialize(keeper)
    with SnapshotReader(path) as reader:
        loader = Loader(reader, path_in_file, _ignore_test(ignore_names))
        try:
            _load(obj, loader, reader.path, strict)
            loader.finish(strict)
        except BaseException:
            loader.undo()
            obj.serialize(Restorer(keeper.kept))
            raise


def read_manifest(path: PathLike) -> dict:
    """Return the manifest of a snapshot without reading its arrays.

    A dictionary: ``format``, ``version``, ``metadata``, ``environment``, ``values``,
    and ``arrays`` with dtype, shape, size and SHA-256 of each.
    """
    with SnapshotReader(path, require_manifest=True) as reader:
        return reader.manifest


def verify_npz(path: PathLike) -> dict:
    """Read the whole file and return its manifest, or raise :class:`SnapshotError`."""
    with SnapshotReader(path, require_manifest=True) as reader:
        reader.verify()
        return reader.manifest


def _check_order(function, path, obj):
    if not isinstance(path, str | os.PathLike) or not hasattr(obj, "serialize"):
        raise TypeError(
            f"{function}(path, obj): got path {type(path).__name__} and obj "
            f"{type(obj).__name__}. The path comes first, then an object with a method "
            "serialize, such as a link, an optimizer or a trainer"
        )


def _load(obj, loader, path, strict):
    try:
        obj.serialize(loader)
    except SnapshotError as error:
        if str(path) in str(error):
            raise
        raise type(error)(f"{path}: {error}") from error
    except Exception as error:
        loader.finish(strict)  # what was missing is likely to be the reason
        raise SnapshotError(
            f"{path}: {type(obj).__name__}.serialize failed on what the file holds: "
            f"{type(error).__name__}: {error}"
        ) from error


def _ignore_test(ignore_names):
    is_one = ignore_names is None or isinstance(ignore_names, str)
    names = [ignore_names] if is_one or callable(ignore_names) else [*ignore_names]
    return lambda key: any(
        name(key) if callable(name) else name == key for name in names
    )
