"""Write the snapshot that every later dyrnn must load: one file per format version.

``python -m tools.make_golden_snapshot FILE`` writes a file of the present version. The
one of each version is made once and kept under ``tests/golden/``; when the format gets
a new version, the old file stays, and a test loads both.
"""

import argparse
import sys

import numpy as np

from dyrnn.serializers import Contents, write_snapshot
from dyrnn.serializers.manifest import VERSION

DTYPES = "? u1 i1 u2 i2 u4 i4 u8 i8 f2 f4 f8".split()


def contents():
    """Return an array of each dtype, shapes of all kinds, and values of all kinds."""
    arrays = {f"dtypes/{d}": np.arange(-3, 3).astype(d) for d in DTYPES[2:]}
    arrays["dtypes/bool"] = np.array([True, False])
    arrays["dtypes/u1"] = np.array([0, 255], np.uint8)
    arrays["scalar"] = np.array(0.1)
    arrays["empty"] = np.zeros((0, 3), np.float32)
    arrays["l1/W"] = (np.arange(24, dtype=np.float32) / 7).reshape(2, 3, 4)
    values = {
        "iteration": 7,
        "large": 2**96 - 1,
        "rate": 0.1,
        "best": {"$float": "-inf"},
        "nothing": None,
        "training": True,
        "name": "é\n\u2028",
        "log": [{"loss": 1.5}, []],
    }
    return Contents(arrays, values)


def make(path):
    """Write the file; the same bytes on every machine."""
    metadata = {"iteration": 7, "vocabulary": ["<eos>", "the", "é"]}
    write_snapshot(path, contents(), metadata, {"dyrnn": "golden"})


def main():
    """Write the file named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("file", nargs="?")
    options = parser.parse_args()
    make(options.file or f"tests/golden/snapshot-v{VERSION}.npz")


if __name__ == "__main__":
    sys.exit(main())
