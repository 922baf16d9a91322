"""Continue a prompt with a language model that train_ptb.py saved.

The model's file is all it needs: the vocabulary is in it.
"""

import argparse
from pathlib import Path

import numpy as np

import dyrnn
from dyrnn import command_line, console, sampling, serializers
from dyrnn.datasets import Vocabulary
from train_ptb import CELLS, RNNForLM


def load_model(path):
    """Return the model and the vocabulary that a training run saved."""
    if not Path(path).exists():
        raise FileNotFoundError(
            f"there is no model {path}: train one first, with "
            "python examples/ptb/train_ptb.py, or name another one with --model"
        )
    manifest = serializers.read_manifest(path)
    metadata = manifest["metadata"]
    if not {"vocabulary", "model"} <= metadata.keys():
        raise ValueError(
            f"{path} is not a model that train_ptb.py saved at its end: give --model "
            "the model.npz in its --out"
        )
    vocabulary = Vocabulary.from_json(metadata["vocabulary"])
    if not is_described(metadata["model"], len(vocabulary), manifest["arrays"]):
        raise ValueError(
            f"{path} describes its model as {metadata['model']!r:.200}, of "
            f"{len(vocabulary)} words, which its arrays are not of"
        )
    model = RNNForLM(len(vocabulary), **metadata["model"])
    serializers.load_npz(path, model)
    return model, vocabulary


def is_described(model, n_vocab, arrays):
    """Whether the arrays of a file are of this model: nothing larger is made."""
    if not isinstance(model, dict):
        return False
    sizes = [model.get("n_units"), model.get("n_layers", 2)]
    cell, dropout = model.get("cell", "fused"), model.get("dropout", 0.5)
    layers = {key.split("/")[1] for key in arrays if key.startswith("layers/")}
    return (
        model.keys() <= {"n_units", "n_layers", "cell", "dropout"}
        and all(type(size) is int for size in sizes)
        and list(arrays.get("embed/W", {}).get("shape", ())) == [n_vocab, sizes[0]]
        and len(layers) == sizes[1]
        and (isinstance(cell, str) and cell in CELLS)
        and (type(dropout) in (int, float) and 0 <= dropout < 1)
    )


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=command_line.HelpFormatter
    )
    number = command_line.number
    add = parser.add_argument
    add("--model", "-m", default="result/model.npz", help="what training saved")
    add("--prime", "-p", help="words to continue (default: begin a line)")
    add("--length", "-n", type=number(int, 0), default=50, help="words to add")
    add("--temperature", type=number(float, 0), default=1.0, help="0: likeliest words")
    add("--top-k", type=number(int, 1), help="choose among the k likeliest words")
    add(
        "--top-p",
        type=number(float, None, 1, above=0),
        help="... among those that reach p",
    )
    add("--no-unk", action="store_true", help="never choose the word <unk>")
    add("--seed", type=number(int, 0), default=0, help="of the random choices")
    args = parser.parse_args()

    dyrnn.random.seed(args.seed)
    model, vocabulary = load_model(args.model)
    try:
        if args.prime is None:
            prime = np.int32([vocabulary.ids.get("<eos>", 0)])
        else:
            prime = vocabulary.encode(args.prime, strict=True)
    except ValueError as error:
        parser.error(f"--prime: {error}")
    if len(prime) == 0:
        parser.error("--prime: give at least one word")
    unknown = vocabulary.ids.get("<unk>") if args.no_unk else None

    def predict(ids):
        logits = model(ids).array
        if unknown is not None:
            logits[:, unknown] = -np.inf
        return logits

    model.reset_state()
    words = sampling.generate(
        predict, prime, args.length, args.temperature, args.top_k, args.top_p
    )
    print(args.prime or "", end="", flush=True)
    separator = " " if args.prime else ""
    for i in words:
        text = console.harmless(vocabulary.decode([i]))
        print(text if text == "\n" else separator + text, end="", flush=True)
        separator = "" if text == "\n" else " "
    print()


if __name__ == "__main__":
    command_line.run(main)
