"""Convert files of weights, or print what is in them.

python -m dyrnn.interchange model.safetensors model.weights.h5
python -m dyrnn.interchange step.onnx predictor.c
python -m dyrnn.interchange --show model.keras

An ONNX file of a step becomes a predictor in C or, as .py and .npz, in NumPy.
"""

import argparse
import os

from dyrnn import interchange
from dyrnn.command_line import HelpFormatter, run
from dyrnn.interchange.c_predictor import write_c
from dyrnn.interchange.graphs import read_graph
from dyrnn.interchange.guessing import model_of
from dyrnn.interchange.numpy_predictor import write_numpy
from dyrnn.interchange.transfer import SUFFIXES, read
from dyrnn.serializers.reader import SnapshotReader


def show(path: str) -> None:
    """Print names, types and shapes, and what the file says about its layers."""
    if path.endswith(".npz"):
        with SnapshotReader(path) as reader:
            for name in reader.array_keys:
                dtype, shape = reader.kind(name)
                print(f"{name}  {dtype} {shape}")
        return
    if path.endswith(".onnx"):
        graph = read_graph(path)
        for what, values in (("input", graph.inputs), ("output", graph.outputs)):
            for value in values:
                print(f"{what} {value.name}  {value.dtype} {value.shape}")
        for name, array in graph.arrays.items():
            print(f"{name}  {array.dtype} {array.shape}")
        print(f"operations: {' '.join(node.op for node in graph.nodes)}")
        return
    source = read(path)
    for name, array in source.arrays.items():
        print(f"{name}  {array.dtype} {array.shape}")
    for place, facts in source.facts.items():
        said = ", ".join(f"{key}={value!r}" for key, value in facts.items())
        print(f"{place.rstrip('/')}: {said}")


def convert(source: str, target: str) -> None:
    """Convert a file that tells its layers."""
    writers = {".c": write_c, ".py": write_numpy}
    suffix = os.path.splitext(target)[1].lower()
    if source.endswith(".onnx") and suffix in writers:
        writers[suffix](target, read_graph(source))
        return
    system = SUFFIXES.get(os.path.splitext(source)[1].lower())
    if system not in ("torch", "keras"):
        raise interchange.InterchangeError(
            f"{source}: only files of PyTorch and Keras tell their layers; load others "
            "into a model with dyrnn.interchange.load"
        )
    model, names = model_of(read(source), system)
    interchange.load(source, model, names=names)
    goal = SUFFIXES.get(os.path.splitext(target)[1].lower())
    interchange.save(target, model, names=names if goal == system else None)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m dyrnn.interchange",
        description=__doc__,
        formatter_class=HelpFormatter,
    )
    parser.add_argument(
        "source", metavar="FROM", help=f"one of {' '.join(SUFFIXES)} .onnx"
    )
    parser.add_argument("target", metavar="TO", nargs="?", help="the file to write")
    parser.add_argument(
        "--show", action="store_true", help="print what is in FROM, and write nothing"
    )
    args = parser.parse_args()
    if args.show == (args.target is not None):
        parser.error("give TO, or --show")
    if args.show:
        show(args.source)
    else:
        convert(args.source, args.target)


if __name__ == "__main__":
    run(main)
