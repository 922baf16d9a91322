"""How long a save takes, against writing and syncing the same bytes.

``python -m tools.measure_save`` saves a model of about the given size, writes the bytes
of the file plainly, and repeats both, one after the other. It prints the medians and
their ratio, and the same of the fastest ones, which are closer to those of a machine
with nothing else to do; with ``--folder``, on the file system to be measured.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from contextlib import suppress

import numpy as np

from dyrnn.serializers import Contents, write_snapshot


def _write_plainly(path, data):
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    while len(data):
        data = data[os.write(fd, data) :]
    os.fsync(fd)
    os.close(fd)


def _seconds(function, *args):
    start = time.perf_counter()
    function(*args)
    return time.perf_counter() - start


def measure(megabytes, repetitions, folder=None):
    """Return the seconds of saves and of plain writes of the same bytes."""
    rng = np.random.default_rng(0)
    rows = megabytes * (1 << 20) // 4 // 650 // 4
    arrays = {f"l{i}/W": rng.random((rows, 650), dtype=np.float32) for i in range(4)}
    arrays |= {f"l{i}/b": rng.random(650, dtype=np.float32) for i in range(40)}
    saves, writes = [], []
    with tempfile.TemporaryDirectory(dir=folder) as place:
        path = os.path.join(place, "snapshot.npz")
        plain = os.path.join(place, "plain")
        write_snapshot(path, Contents(arrays, {}))
        with open(path, "rb") as file:
            data = memoryview(file.read())
        for _ in range(repetitions):
            for target, seconds, function, args in (
                (plain, writes, _write_plainly, (plain, data)),
                (path, saves, write_snapshot, (path, Contents(arrays, {}))),
            ):
                with suppress(FileNotFoundError):
                    os.unlink(target)
                seconds.append(_seconds(function, *args))
    return saves, writes


def main():
    """Print the times and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--megabytes", type=int, default=200)
    parser.add_argument("--repetitions", type=int, default=11)
    parser.add_argument("--folder")
    options = parser.parse_args()
    times = measure(options.megabytes, options.repetitions, options.folder)
    for name, choose in (("median", statistics.median), ("fastest", min)):
        save, write = map(choose, times)
        print(
            f"{options.megabytes} MiB, {name}: save {save:.3f} s, write and fsync "
            f"{write:.3f} s, ratio {save / write:.2f}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
