"""Convert files of weights, or print what is in them.

python -m dyrnn.interchange model.safetensors model.weights.h5
python -m dyrnn.interchange step.onnx --to c
python -m dyrnn.interchange --show model.keras

An ONNX file of a step becomes a predictor in C or, as .py and .npz, in NumPy.
"""

import argparse
import os

import numpy as np

from dyrnn import console, interchange
from dyrnn.command_line import HelpFormatter, run
from dyrnn.config import config, using_config
from dyrnn.interchange.c_predictor import write_c
from dyrnn.interchange.files import kind_of
from dyrnn.interchange.graphs import read_graph
from dyrnn.interchange.guessing import model_of
from dyrnn.interchange.numpy_predictor import is_predictor, write_numpy
from dyrnn.interchange.onnx_layers import layers_of
from dyrnn.interchange.transfer import SUFFIXES, read
from dyrnn.serializers.reader import SnapshotReader

_PREDICTORS = {".c": write_c, ".py": write_numpy}
_FORMATS = {
    "c": ".c",
    "numpy": ".py",
    "safetensors": ".safetensors",
    "pt": ".pt",
    "h5": ".weights.h5",
    "npz": ".npz",
}


def show(path: str) -> None:
    """Print names, types and shapes, and what the file says about its layers."""
    kind = kind_of(path)
    if kind == ".npz":
        with SnapshotReader(path) as reader:
            for name in reader.array_keys:
                dtype, shape = reader.kind(name)
                _print(f"{name}  {dtype} {shape}")
        return
    if kind == ".onnx":
        graph = read_graph(path)
        for what, values in (("input", graph.inputs), ("output", graph.outputs)):
            for value in values:
                _print(f"{what} {value.name}  {value.dtype} {value.shape}")
        _print(f"operations: {' '.join(node.op for node in graph.nodes)}")
        source = layers_of(graph)
    else:
        source = read(path)
    for name, array in source.arrays.items():
        _print(f"{name}  {array.dtype} {array.shape}")
    for place, facts in source.facts.items():
        said = ", ".join(f"{key}={value!r}" for key, value in facts.items())
        _print(f"{place.rstrip('/')}: {said}")


def _print(line):
    """Print a line of a file, in which there may be more than one, or a terminal's."""
    print(console.harmless(line).replace("\n", "\\n"))


def convert(source: str, target: str) -> None:
    """Convert a file that tells its layers."""
    kind = kind_of(source)
    if os.path.exists(target) and os.path.samefile(source, target):
        raise interchange.InterchangeError(
            f"{target}: the file to read and the one to write are the same"
        )
    suffix = os.path.splitext(target)[1].lower()
    if kind == ".onnx" and suffix in _PREDICTORS:
        _PREDICTORS[suffix](target, read_graph(source))
        return
    system, goal = SUFFIXES[kind], SUFFIXES.get(suffix)
    if system not in ("torch", "keras") or suffix in _PREDICTORS:
        raise interchange.InterchangeError(
            f"{source}: only files of PyTorch and Keras tell their layers, and only "
            "ONNX files of a step what a predictor computes; load others into a model "
            "with dyrnn.interchange.load"
        )
    found = read(source)
    floats = [a.dtype for a in found.arrays.values() if a.dtype.kind == "f"]
    dtype = np.result_type(*floats) if floats else config.dtype
    with using_config("dtype", np.dtype(dtype)):  # no digits are lost
        model, names = model_of(found, system)
    interchange.load(source, model, names=names)
    interchange.save(target, model, names=names if goal == system else None)


def _beside(source, suffix):
    """Return the name of a file that may be written, though nobody named it."""
    target = os.path.splitext(source)[0].removesuffix(".weights") + suffix
    if os.path.exists(target) and not (suffix in _PREDICTORS and is_predictor(target)):
        raise interchange.InterchangeError(
            f"{target} is there already: give it as TO, in place of --to, if it is to "
            "be replaced"
        )
    return target


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m dyrnn.interchange",
        description=__doc__,
        formatter_class=HelpFormatter,
    )
    parser.add_argument(
        "source", metavar="FROM", help=f"a file of the kind {' '.join(SUFFIXES)}"
    )
    parser.add_argument("target", metavar="TO", nargs="?", help="the file to write")
    parser.add_argument(
        "--to",
        metavar="FORMAT",
        choices=_FORMATS,
        help=f"write beside FROM, under its name: {', '.join(_FORMATS)}",
    )
    parser.add_argument(
        "--show", action="store_true", help="print what is in FROM, and write nothing"
    )
    args = parser.parse_args()
    if sum([args.show, args.to is not None, bool(args.target)]) != 1:
        parser.error("give one of TO, --to and --show")
    if args.show:
        show(args.source)
    else:
        convert(args.source, args.target or _beside(args.source, _FORMATS[args.to]))


if __name__ == "__main__":
    run(main)
