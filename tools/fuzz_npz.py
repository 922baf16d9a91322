"""Damage npz files at random: each must load as it was, or raise ``SnapshotError``.

``python -m tools.fuzz_npz`` mutates a snapshot and two plain npz files (one compressed)
by flipping bits, by cutting, copying, swapping and inserting pieces, and by writing
extreme numbers where lengths and positions stand. Some get their zip checksums repaired
afterwards, so that only the SHA-256 of a snapshot can tell. Any other exception is a
problem, and so are contents that differ from the original ones. What the process needs
at its peak, beyond what it needed at the start, is reported, too.
"""

import argparse
import collections
import io
import os
import random
import resource
import struct
import sys
import tempfile
import time
import zlib

import numpy as np

from dyrnn.errors import SnapshotError
from dyrnn.serializers import Contents, SnapshotReader, write_snapshot

EXTREMES = [0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFE, 0xFFFFFFFF]


def originals(folder):
    """Return the files to damage, as bytes by name."""
    rng = np.random.default_rng(0)
    arrays = {
        "l1/W": rng.random((7, 5), dtype=np.float32),
        "l1/b": np.arange(5, dtype=np.int32),
        "mask": rng.random(9) < 0.5,
        "empty": np.zeros((0, 3), np.float16),
        "scalar": np.array(2.5),
    }
    path = os.path.join(folder, "original.npz")
    values = {"iteration": 12, "names": ["a", "b"], "rate": {"$float": "inf"}}
    write_snapshot(path, Contents(arrays, values), {"words": ["<eos>", "the"]})
    with open(path, "rb") as file:
        files = {"snapshot": file.read()}
    for name, save in (("plain", np.savez), ("compressed", np.savez_compressed)):
        buffer = io.BytesIO()
        save(buffer, **arrays)
        files[name] = buffer.getvalue()
    return files


def contents(path, snapshot):
    """Return all that a file holds, comparable."""
    with SnapshotReader(path) as reader:
        arrays = {}
        for key in reader.array_keys:
            array = reader.read_array(key)
            arrays[key] = (array.dtype.str, array.shape, array.tobytes())
        if snapshot and reader.manifest is None:
            # It lost its manifest; whoever needs one refuses it.
            raise SnapshotError("no manifest")
        return (
            arrays,
            repr(reader.manifest and reader.manifest["metadata"]),
            repr(reader.values),
        )


def mutate(data, rng):
    """Return ``data`` with one to four kinds of damage."""
    data = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 4))):
        if not data:
            break
        rng.choice(DAMAGES)(data, rng)
    return bytes(data)


def _flip(data, rng):
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _byte(data, rng):
    data[rng.randrange(len(data))] = rng.randrange(256)


def _cut(data, rng):
    del data[rng.randrange(len(data)) :]


def _delete(data, rng):
    start = rng.randrange(len(data))
    del data[start : start + rng.choice((1, 2, 8, 64, 500))]


def _insert(data, rng):
    start = rng.randrange(len(data) + 1)
    data[start:start] = rng.randbytes(rng.choice((1, 2, 8, 64, 500)))


def _copy(data, rng):
    start, target = rng.randrange(len(data)), rng.randrange(len(data))
    piece = data[start : start + rng.choice((4, 30, 100, 400))]
    if rng.random() < 0.5:
        data[target : target + len(piece)] = piece
    else:
        data[target:target] = piece


def _swap(data, rng):
    length = rng.choice((2, 16, 64))
    first = rng.randrange(len(data))
    second = rng.randrange(len(data))
    one, two = data[first : first + length], data[second : second + length]
    if len(one) == len(two):
        data[first : first + length] = two
        data[second : second + length] = one


def _extreme(data, rng):
    """Write an extreme number into a record of the zip format, or anywhere."""
    records = [b"PK\1\2", b"PK\3\4", b"PK\5\6", b"\x93NUMPY", b""]
    signature = rng.choice(records)
    starts = [i for i in range(len(data)) if data.startswith(signature, i)]
    width = rng.choice((2, 4, 8))
    if starts:
        start = rng.choice(starts) + rng.randrange(4, 46)
        number = rng.choice(EXTREMES) & ((1 << 8 * width) - 1)
        data[start : start + width] = number.to_bytes(width, "little")


def _digit(data, rng):
    """Change a digit of a shape or of the manifest."""
    places = [i for i, byte in enumerate(data) if 0x30 <= byte <= 0x39]
    if places:
        data[rng.choice(places)] = rng.randrange(0x30, 0x3A)


DAMAGES = (_flip, _byte, _cut, _delete, _insert, _copy, _swap, _extreme, _digit)


def repair(data):
    """Return ``data`` with the checksums of its stored members made right."""
    data = bytearray(data)
    checksums = {}
    position = 0
    while data[position : position + 4] == b"PK\3\4" and position + 30 <= len(data):
        size, _, name, extra = struct.unpack_from("<2L2H", data, position + 18)
        body = position + 30 + name + extra
        checksum = zlib.crc32(data[body : body + size])
        struct.pack_into("<L", data, position + 14, checksum)
        checksums[position] = checksum
        position = body + size
    while data[position : position + 4] == b"PK\1\2" and position + 46 <= len(data):
        name, extra = struct.unpack_from("<2H", data, position + 28)
        (start,) = struct.unpack_from("<L", data, position + 42)
        if start in checksums:
            struct.pack_into("<L", data, position + 16, checksums[start])
        position += 46 + name + extra
    return bytes(data)


def search(count, seed=0):
    """Return outcomes and their numbers, problems, peak memory and slowest load."""
    rng = random.Random(seed)
    outcomes, wrong, slowest = collections.Counter(), [], 0.0
    with tempfile.TemporaryDirectory(dir=memory_folder()) as folder:
        files = originals(folder)
        path = os.path.join(folder, "damaged.npz")
        expected = {}
        for name, data in files.items():
            _write(path, data)
            expected[name] = contents(path, name == "snapshot")
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for number in range(count):
            name = rng.choice(("snapshot", "snapshot", "plain", "compressed"))
            damaged = mutate(files[name], rng)
            # Without a manifest, contents under a repaired checksum are the contents.
            if name == "snapshot" and rng.random() < 0.3:
                damaged = repair(damaged)
            _write(path, damaged)
            start = time.perf_counter()
            try:
                same = contents(path, name == "snapshot") == expected[name]
                outcome = "loaded as it was" if same else "silently wrong"
            except SnapshotError:
                outcome = "refused"
            except Exception as error:
                outcome = f"raised {type(error).__name__}: {error}"
            slowest = max(slowest, time.perf_counter() - start)
            outcomes[outcome] += 1
            if outcome not in ("loaded as it was", "refused"):
                wrong.append(f"mutation {number} of seed {seed} ({name}): {outcome}")
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return outcomes, wrong, peak * 1024, slowest


def memory_folder():
    """Return a folder in memory, if there is one."""
    return "/dev/shm" if os.path.isdir("/dev/shm") else None


def _write(path, data):
    with open(path, "wb") as file:
        file.write(data)


def main():
    """Print the figures; return 1 if anything but ``SnapshotError`` came out."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    outcomes, wrong, peak, slowest = search(options.count, options.seed)
    for outcome, number in outcomes.most_common():
        print(f"{number:8} {outcome}")
    print(f"peak memory: {peak / 2**20:.1f} MiB more; slowest: {slowest:.3f} s")
    for problem in wrong[:20]:
        print(f"  {problem}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
