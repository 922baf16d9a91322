"""Read thousands of damaged files of weights: only ``InterchangeError`` may come out.

    python -m tools.fuzz_weights --count 5000

Files of each format are damaged as :mod:`tools.fuzz_npz` damages snapshots, and by
extreme numbers in the headers, then read. Printed are what came out, the memory that
it took and the slowest file. Files of Keras need the package h5py.
"""

import argparse
import collections
import contextlib
import os
import random
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import dyrnn
from dyrnn import links as L
from dyrnn.errors import InterchangeError
from dyrnn.interchange import OnnxModel, keras_files, save, to_onnx
from dyrnn.interchange.files import kind_of, read_safetensors
from dyrnn.interchange.graphs import read_graph
from dyrnn.interchange.onnx_layers import layers_of
from tools.fuzz_npz import EXTREMES, mutate


def onnx_files(folder):
    """Return the bytes of a language model, of a tagger, and of what PyTorch wrote."""
    path = os.path.join(folder, "original.onnx")
    words = dyrnn.Sequential(L.EmbedID(9, 3), L.LSTM(3, 4), L.GRU(4, 2), L.Linear(2, 9))
    sequences = L.NStepBiLSTM(2, 3, 2)
    examples = {words: [np.arange(8).reshape(4, 2)]}
    examples[sequences] = [None, None, [np.ones((3, 3), np.float32)]]
    files = []
    for model, example in examples.items():
        to_onnx(model, path, *example)
        with open(path, "rb") as file:
            files.append(file.read())
    return [*files, (GOLDEN / "torch.onnx").read_bytes()]


def read_onnx(path):
    """Read a file as a model, and as the layers of another one."""
    graph = read_graph(path)
    with contextlib.suppress(InterchangeError):
        layers_of(graph)
    OnnxModel(graph)


def safetensors_files(folder):
    """Return the bytes of a file that was saved."""
    path = os.path.join(folder, "original.safetensors")
    save(path, dyrnn.Sequential(L.EmbedID(9, 3), L.GRU(3, 4), L.Linear(4, 9)))
    with open(path, "rb") as file:
        return [file.read()]


def keras_files_of(suffix):
    """Return a function that reads the files with a suffix which Keras wrote."""
    return lambda folder: [p.read_bytes() for p in sorted(GOLDEN.glob(f"*{suffix}"))]


GOLDEN = Path(__file__).resolve().parents[1] / "tests" / "golden" / "interchange"
FORMATS = {
    ".onnx": (onnx_files, read_onnx),
    ".safetensors": (safetensors_files, read_safetensors),
    ".keras": (keras_files_of(".keras"), keras_files.read),
    ".weights.h5": (keras_files_of(".weights.h5"), keras_files.read),
}


def damage(data, rng):
    """Return ``data`` damaged; a varint or a number of the header may get extreme."""
    data = bytearray(mutate(data, rng))
    if data and rng.random() < 0.3:
        place = rng.randrange(len(data))
        number = rng.choice(EXTREMES) & (2**64 - 1)
        parts = bytearray()
        while number >= 0x80:
            parts.append(number & 0x7F | 0x80)
            number >>= 7
        data[place : place + rng.randrange(1, 4)] = [*parts, number]
    return bytes(data)


def search(suffix, count, seed=0):
    """Return outcomes and their numbers, problems, peak memory and slowest file."""
    rng = random.Random(seed)
    make, read = FORMATS[suffix]
    outcomes, wrong, slowest = collections.Counter(), [], 0.0
    memory = "/dev/shm" if os.path.isdir("/dev/shm") else None
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        files = make(folder)
        path = os.path.join(folder, f"damaged{suffix}")
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for number in range(count):
            with open(path, "wb") as file:
                file.write(damage(rng.choice(files), rng))
            start = time.perf_counter()
            try:
                kind_of(path)
                read(path)
                outcome = "read"
            except InterchangeError:
                outcome = "refused"
            except Exception as error:
                outcome = f"raised {type(error).__name__}: {error}"
                wrong.append(f"mutation {number} of seed {seed}: {outcome}")
            slowest = max(slowest, time.perf_counter() - start)
            outcomes[outcome] += 1
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return outcomes, wrong, peak * 1024, slowest


def main():
    """Print the figures; return 1 if anything but ``InterchangeError`` came out."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=5000, help="files of each format")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    failed = 0
    for suffix in FORMATS:
        outcomes, wrong, peak, slowest = search(suffix, options.count, options.seed)
        print(f"{suffix}: {dict(outcomes.most_common(5))}")
        print(f"  peak memory: {peak / 2**20:.1f} MiB more; slowest: {slowest:.3f} s")
        for problem in wrong[:20]:
            print(f"  {problem}")
        failed += len(wrong)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
