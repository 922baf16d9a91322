"""Serve the model of examples/serve by PyTorch, with the same HTTP code and weights.

python examples/serve/ask.py
python benchmarks/torch_serve.py --model result/serve/model.npz
"""

import argparse
import sys
from pathlib import Path

import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[1] / "examples" / "serve"))
from ask import measure
from serve import load


class LanguageModel(nn.Module):
    """The example's network, with its weights."""

    def __init__(self, model):
        super().__init__()
        V, H = model.embed.W.shape
        self.embed, self.out = nn.Embedding(V, H), nn.Linear(H, V)
        self.rnn = nn.LSTM(H, H, len(model.layers))
        state = {"embed.weight": model.embed.W, "out.weight": model.out.W}
        state["out.bias"] = model.out.b
        for i, layer in enumerate(model.layers):
            state[f"rnn.weight_ih_l{i}"] = layer.upward.W
            state[f"rnn.weight_hh_l{i}"] = layer.lateral.W
            state[f"rnn.bias_ih_l{i}"] = layer.upward.b
            state[f"rnn.bias_hh_l{i}"] = layer.upward.b * 0
        self.load_state_dict({k: torch.from_numpy(v.array) for k, v in state.items()})

    def forward(self, x):
        h, _ = self.rnn(self.embed(x))
        return torch.softmax(self.out(h[-1]), -1)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--model", default="result/serve/model.npz")
    add("--requests", type=int, default=10000)
    add("--threads", type=int, default=16)
    add("--torch-threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.torch_threads)
    model, vocabulary = load(args.model)
    network = LanguageModel(model).eval()

    def predict(ids):
        with torch.no_grad():
            return network(torch.from_numpy(ids).long()).numpy()

    measure(predict, vocabulary, args.requests, args.threads)


if __name__ == "__main__":
    main()
