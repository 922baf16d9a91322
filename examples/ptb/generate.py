"""Continue a prompt with a language model that train_ptb.py saved.

The model's file is all it needs: the vocabulary is in it.
"""

import argparse
from pathlib import Path

import numpy as np

import dyrnn
from dyrnn import command_line, console, sampling, serializers
from dyrnn.datasets import Vocabulary
from train_ptb import RNNForLM


def load_model(path):
    """Return the model and the vocabulary that a training run saved."""
    if not Path(path).exists():
        raise FileNotFoundError(
            f"there is no model {path}: train one first, with "
            "python examples/ptb/train_ptb.py, or name another one with --model"
        )
    metadata = serializers.read_manifest(path)["metadata"]
    if not {"vocabulary", "model"} <= metadata.keys():
        raise ValueError(
            f"{path} is not a model that train_ptb.py saved at its end: give --model "
            "the model.npz in its --out"
        )
    vocabulary = Vocabulary.from_json(metadata["vocabulary"])
    model = RNNForLM(len(vocabulary), **metadata["model"])
    serializers.load_npz(path, model)
    return model, vocabulary


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=command_line.HelpFormatter
    )
    number = command_line.number
    add = parser.add_argument
    add("--model", "-m", default="result/model.npz", help="what training saved")
    add("--prime", "-p", default="the", help="words to continue")
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
    print(args.prime, end="", flush=True)
    separator = " "
    for i in words:
        text = console.harmless(vocabulary.decode([i]))
        print(text if text == "\n" else separator + text, end="", flush=True)
        separator = "" if text == "\n" else " "
    print()


if __name__ == "__main__":
    command_line.run(main)
