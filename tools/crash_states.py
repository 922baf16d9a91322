"""Every state a crash can leave on the disk during saves: is a snapshot ever lost?

``python -m tools.crash_states`` records the operations of real saves and prunings, and
then rebuilds, for a crash after each of them, what a disk may hold. Data not yet synced
may be there, gone, cut in half, or zeros of the right length, or zeros in every second
page; and of the directory operations not yet synced, any may be there and any missing.
In each state the newest valid snapshot must be at least as new as the last one that was
acknowledged, and no file may be unreadable under a final name.

To show that the search can find what it looks for, five mistakes are planted in the
recorded operations; each has to be found.
"""

import argparse
import hashlib
import itertools
import os
import sys
import tempfile
import warnings
from contextlib import contextmanager
from unittest import mock

import numpy as np

from dyrnn.errors import SnapshotError
from dyrnn.serializers import Contents, newest_valid, prune, verify_npz, write_snapshot

PAGE = 512
SAVES = 5


# -- Recording -----------------------------------------------------------------------


@contextmanager
def recording(folder):
    """Context: the list of what is done in ``folder``, as tuples (kind, ...).

    Files are numbered as they are made, for a file may change its name.
    """
    operations, files, folders = [], {}, set()
    numbers = itertools.count(1)
    real = {name: getattr(os, name) for name in _PATCHED}

    def inside(path):
        return os.path.dirname(os.path.abspath(path)) == folder

    def open_(path, flags, *rest, **options):
        fd = real["open"](path, flags, *rest, **options)
        if os.path.abspath(path) == folder:
            folders.add(fd)
        elif inside(path) and flags & os.O_CREAT:
            files[fd] = next(numbers)
            operations.append(("create", os.path.basename(path), files[fd]))
        return fd

    def write(fd, data):
        count = real["write"](fd, data)
        if fd in files:
            operations.append(("write", files[fd], bytes(data[:count])))
        return count

    def fsync(fd):
        real["fsync"](fd)
        if fd in folders:
            operations.append(("sync folder",))
        elif fd in files:
            operations.append(("sync", files[fd]))

    def close(fd):
        folders.discard(fd)
        files.pop(fd, None)
        real["close"](fd)

    def replace(source, target):
        real["replace"](source, target)
        names = os.path.basename(source), os.path.basename(target)
        operations.append(("rename", *names))

    def unlink(path):
        real["unlink"](path)
        operations.append(("unlink", os.path.basename(path)))

    patched = (open_, write, fsync, close, replace, unlink)
    with mock.patch.multiple(os, **dict(zip(_PATCHED, patched, strict=True))):
        yield operations


_PATCHED = ("open", "write", "fsync", "close", "replace", "unlink")


def _save(path, iteration):
    numbers = np.random.default_rng(iteration).random(300)
    arrays = {"W": numbers, "b": numbers[:5], "l/W": numbers * 2, "l/b": numbers[:9]}
    contents = Contents(arrays, {"iteration": iteration})
    write_snapshot(path, contents, {"iteration": iteration})


def record(folder, same_name):
    """Return the files there at first, and the operations of the saves after them."""
    names = ["snapshot.npz"] * SAVES
    if not same_name:
        names = [f"snapshot_{i}.npz" for i in range(1, SAVES + 1)]
    paths = [os.path.join(folder, name) for name in names]
    _save(paths[0], 1)
    with open(paths[0], "rb") as file:
        initial = {names[0]: file.read()}
    # A small buffer makes several writes of a small file.
    with (
        recording(folder) as operations,
        mock.patch("dyrnn.serializers.atomic._BUFFER", 1000),
    ):
        for iteration in range(2, SAVES + 1):
            _save(paths[iteration - 1], iteration)
            operations.append(("acknowledge", iteration))
            prune(folder, n_retains=1 + iteration % 2)
    return initial, operations


# -- Crashing ------------------------------------------------------------------------


def _torn(durable, current):
    """Return what may be left of a file that was changed and not synced."""
    start = len(durable) if current.startswith(durable) else 0
    half = (start + len(current)) // 2
    zeros = bytes(len(current) - start)
    pages = bytearray(current)
    for page in range(start - start % PAGE, len(current), 2 * PAGE):
        begin, end = max(start, page), min(page + PAGE, len(current))
        pages[begin:end] = bytes(end - begin)
    kinds = (current, durable, current[:half], current[:start] + zeros, bytes(pages))
    return set(kinds) | {current[:start]}


def _apply(folder, operation):
    kind, *names = operation
    if kind == "create":
        folder[names[0]] = names[1]
    elif kind == "rename":
        # The name may come from a dropped operation: the file is what counts.
        folder.pop(names[0], None)
        folder[names[1]] = names[2]
    else:
        folder.pop(names[0], None)


def crash_states(initial, operations):
    """Yield (files, acknowledged iteration) for crashes after each operation."""
    numbers = {name: -i for i, name in enumerate(initial, 1)}
    durable = {numbers[name]: data for name, data in initial.items()}
    current = dict(durable)
    on_disk, in_memory, waiting = dict(numbers), dict(numbers), []
    acknowledged = 1
    for operation in [("start",), *operations]:
        kind, *rest = operation
        if kind == "create":
            durable[rest[1]] = current[rest[1]] = b""
        elif kind == "truncate":
            name, number = rest
            if name in in_memory:
                old = in_memory[name]
                durable[number], current[number] = durable[old], b""
                on_disk = {n: number if f == old else f for n, f in on_disk.items()}
                in_memory[name] = number
            else:
                durable[number] = current[number] = b""
                operation = ("create", name, number)
        elif kind == "write":
            current[rest[0]] += rest[1]
        elif kind == "sync":
            durable[rest[0]] = current[rest[0]]
        elif kind == "sync folder":
            on_disk, waiting = dict(in_memory), []
        elif kind == "acknowledge":
            acknowledged = rest[0]
        if operation[0] == "rename":
            operation = (*operation, in_memory[rest[0]])
        if operation[0] in ("create", "rename", "unlink"):
            _apply(in_memory, operation)
            waiting.append(operation)
        for kept in itertools.product((False, True), repeat=len(waiting)):
            folder = dict(on_disk)
            for change in itertools.compress(waiting, kept):
                _apply(folder, change)
            variants = [_torn(durable[f], current[f]) for f in folder.values()]
            for contents in itertools.product(*variants):
                yield dict(zip(folder, contents, strict=True)), acknowledged


def problems(initial, operations, enough=None):
    """Return the number of different states, and a list of what is wrong in them.

    Stops once there are ``enough`` problems.
    """
    seen, found = set(), []
    for files, acknowledged in crash_states(initial, operations):
        digest = hashlib.sha256(repr((sorted(files.items()), acknowledged)).encode())
        if digest.digest() in seen:
            continue
        seen.add(digest.digest())
        with tempfile.TemporaryDirectory() as folder:
            found += _check(folder, files, acknowledged)
        if enough is not None and len(found) >= enough:
            break
    return len(seen), found


def _check(folder, files, acknowledged):
    found = []
    for name, data in files.items():
        path = os.path.join(folder, name)
        with open(path, "wb") as file:
            file.write(data)
        if not name.startswith("."):
            try:
                verify_npz(path)
            except SnapshotError as error:
                found.append(f"unreadable under a final name: {error}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        newest = newest_valid(folder)
    if newest is None or newest.iteration < acknowledged:
        found.append(f"iteration {acknowledged} was acknowledged, but {newest} is left")
    return found


# -- Mistakes, planted -----------------------------------------------------------------


def _without(kind):
    return lambda operations: [o for o in operations if o[0] != kind]


def _prune_early(operations):
    result = []
    for operation in operations:
        if operation[0] == "unlink":
            kinds = [o[0] for o in result]
            position = len(kinds) - kinds[::-1].index("rename")
            result.insert(position, operation)
        else:
            result.append(operation)
    return result


def _overwrite(operations):
    targets = iter([o[2] for o in operations if o[0] == "rename"])
    return [
        ("truncate", next(targets), o[2]) if o[0] == "create" else o
        for o in operations
        if o[0] != "rename"
    ]


def _sync_late(operations):
    result, late = [], []
    for operation in operations:
        if operation[0] == "sync":
            late.append(operation)
        else:
            result.append(operation)
            if operation[0] == "rename":
                result += late
                late = []
    return result


MISTAKES = {
    "no fsync of the file": _without("sync"),
    "no fsync of the directory": _without("sync folder"),
    "pruning before the fsync of the directory": _prune_early,
    "overwriting in place": _overwrite,
    "fsync after the rename": _sync_late,
}


def search():
    """Return states and problems of real saves, and the first problem by mistake."""
    states, found, caught = 0, [], {}
    for same_name in (False, True):
        with tempfile.TemporaryDirectory() as folder:
            initial, operations = record(os.path.realpath(folder), same_name)
        count, wrong = problems(initial, operations)
        states, found = states + count, found + wrong
        for name, plant in MISTAKES.items():
            planted = plant(operations)
            if planted != operations and not caught.get(name):
                caught[name] = problems(initial, planted, enough=1)[1]
    return states, found, caught


def main():
    """Print the figures; return 1 unless they are as they must be."""
    argparse.ArgumentParser(description=__doc__.partition("\n")[0]).parse_args()
    states, found, caught = search()
    print(f"{states} crash states, {len(found)} with a snapshot lost or unreadable")
    for problem in found[:10]:
        print(f"  {problem}")
    for name, first in caught.items():
        print(f"planted: {name}: {'found: ' + first[0] if first else 'MISSED'}")
    return 0 if not found and all(caught.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
