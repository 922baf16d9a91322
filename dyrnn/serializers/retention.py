"""Folders of snapshots: which is the newest good one, and which may go.

Neither names nor dates of files are trusted: a copied file has a new date, and ``9``
sorts after ``100``. What counts is the ``iteration`` in the metadata of each file.
"""

import contextlib
import fnmatch
import os
import re
import warnings
from typing import NamedTuple

from dyrnn.errors import SnapshotError
from dyrnn.serializers.atomic import sync_directory
from dyrnn.serializers.manifest import NewerVersionError
from dyrnn.serializers.npz import verify_npz
from dyrnn.serializers.reader import SnapshotReader

_MOST_ASIDE = 8  # files of one name that were renamed out of the way


class Snapshot(NamedTuple):
    """A file in a folder, its iteration, and the metadata of its manifest."""

    iteration: int
    path: str
    metadata: dict


def _scan(folder, pattern):
    """Return the snapshots by iteration, and the damaged files as (path, error)."""
    found, damaged = [], []
    for name in sorted(fnmatch.filter(os.listdir(folder), pattern)):
        path = os.path.join(folder, name)
        if name.startswith(".") or not os.path.isfile(path):
            continue
        try:
            with SnapshotReader(path) as reader:
                manifest = reader.manifest
        except NewerVersionError:
            raise
        except SnapshotError as error:
            damaged.append((path, error))
            continue
        iteration = manifest["metadata"].get("iteration") if manifest else None
        if type(iteration) is int:
            found.append(Snapshot(iteration, path, manifest["metadata"]))
    return sorted(found, key=lambda snapshot: snapshot[:2]), damaged


def list_snapshots(folder, pattern="snapshot*.npz"):
    """Return the snapshots in ``folder``, by the iteration inside them, oldest first.

    Only manifests are read. Files without one, or without an ``iteration`` in their
    metadata, are no snapshots; damaged files are left out.

    Raises
    ------
    NewerVersionError
        If a file was written by a later version of dyrnn.
    """
    return _scan(folder, pattern)[0]


def newest_valid(folder, pattern="snapshot*.npz"):
    """Return the snapshot of the highest iteration that is whole, or None.

    Every byte of it is checked. Damaged files that would have come before it, or whose
    iteration cannot be read, get the extension ``.corrupt`` and a warning. Files that
    cannot be read for another reason (an error of the disk) keep their names.

    Raises
    ------
    NewerVersionError
        If a file was written by a later version of dyrnn: going on from an older file
        would throw its progress away.
    """
    found, damaged = _scan(folder, pattern)
    for path, error in damaged:
        _set_aside(path, error)
    for snapshot in reversed(found):
        try:
            verify_npz(snapshot.path)
        except SnapshotError as error:
            _set_aside(snapshot.path, error)
        else:
            return snapshot
    return None


def _set_aside(path, error):
    if isinstance(error.__cause__, OSError):
        warnings.warn(f"snapshot skipped: {error}", stacklevel=4)
        return
    target = rename_aside(path, ".corrupt")
    warnings.warn(
        f"damaged snapshot renamed to {os.path.basename(target)}: {error}", stacklevel=4
    )


def rename_aside(path, extension):
    """Add ``extension`` to a file's name, and a number if it is taken; return it.

    Once there are as many of a name as are kept, the one written first is replaced.
    """
    numbered = (f"{path}{extension}-{number}" for number in range(2, _MOST_ASIDE + 1))
    names = [f"{path}{extension}", *numbered]
    free = [name for name in names if not os.path.lexists(name)]
    target = free[0] if free else min(names, key=lambda name: os.lstat(name).st_mtime)
    os.replace(path, target)
    return target


def set_later_aside(folder, iteration, pattern="snapshot*.npz"):
    """Rename snapshots of later iterations to ``NAME.bak``; return the new paths.

    To a run that is at ``iteration``, they are another run's: they would pass for its
    newest ones.

    Raises
    ------
    NewerVersionError
        If a file was written by a later version of dyrnn.
    """
    later = [s for s in list_snapshots(folder, pattern) if s.iteration > iteration]
    return [rename_aside(snapshot.path, ".bak") for snapshot in later]


def prune(folder, n_retains, pattern="snapshot*.npz", every=None, keep=()):
    """Delete old snapshots in ``folder``; return the paths that are gone.

    Parameters
    ----------
    folder : str
        Where they are.
    n_retains : int
        How many of the newest to keep, 1 or more. With 1, a file that goes bad on the
        disk leaves nothing: 2 are better.
    pattern : str
        Names of the files to consider; others are never touched.
    every : int, optional
        Also keep each snapshot whose iteration is a multiple of this number.
    keep : iterable of str
        Paths to keep in any case, such as the best one.

    Nothing is deleted unless a file that stays is whole, from its first to its last
    byte, and its name is on the disk.
    """
    if n_retains < 1:
        raise ValueError(f"n_retains is {n_retains}: keep at least 1 snapshot")
    if every is not None and every < 1:
        raise ValueError(f"every is {every}: use 1 or more, or None")
    protected = {os.path.abspath(path) for path in keep}
    snapshots = list_snapshots(folder, pattern)
    leaving = [
        snapshot
        for snapshot in snapshots[:-n_retains]
        if os.path.abspath(snapshot.path) not in protected
        and (every is None or snapshot.iteration % every)
    ]
    if not leaving:
        return []
    staying = [snapshot for snapshot in snapshots if snapshot not in leaving]
    if not any(_is_whole(snapshot) for snapshot in reversed(staying)):
        warnings.warn(
            f"no snapshot is deleted in {folder}: of those to keep, none is whole",
            stacklevel=2,
        )
        return []
    sync_directory(folder)
    for snapshot in leaving:
        os.unlink(snapshot.path)
    return [snapshot.path for snapshot in leaving]


def _is_whole(snapshot):
    try:
        verify_npz(snapshot.path)
    except (SnapshotError, OSError):
        return False
    return True


def remove_leftovers(folder):
    """Delete what killed processes left behind while saving; return the paths.

    Temporary files of processes that still run on this machine are left alone.
    """
    gone = []
    for name in sorted(os.listdir(folder)):
        match = re.fullmatch(r"\..+\.tmp-([0-9]{1,10})-[0-9a-f]{8}", name)
        if match and not _is_running(int(match.group(1))):
            path = os.path.join(folder, name)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
                gone.append(path)
    return gone


def _is_running(pid):
    if os.name == "nt":
        return True  # os.kill would end the process there
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True
