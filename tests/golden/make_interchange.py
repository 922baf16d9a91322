"""Weights and outputs of other systems, for tests/interchange: each run once.

Usage: python tests/golden/make_interchange.py torch|onnx|keras|flax|equinox FOLDER

It needs the system, and NumPy. ``make interchange`` runs it for all of them and
compares dyrnn with what it writes.
"""

import os
import sys
from pathlib import Path

import numpy as np

V, D, H, P = 7, 3, 4, 2  # labels, features, units, projected units
T, B = 5, 3
rng = np.random.default_rng(0)
ids = rng.integers(0, V, (T, B))
lengths = np.array([3, T, 1])  # of the sequences where they are packed or masked
x = rng.normal(size=(T, B, D)).astype(np.float32)


def torch(folder):
    import torch
    from safetensors.torch import save_file, save_model
    from torch import nn

    torch.manual_seed(0)
    cases = {
        "lstm": nn.LSTM(D, H),
        "lstm no bias": nn.LSTM(D, H, bias=False),
        "lstm projected": nn.LSTM(D, H, proj_size=P),
        "bilstm projected": nn.LSTM(D, H, 2, bidirectional=True, proj_size=P),
        "bilstm": nn.LSTM(D, H, 2, bidirectional=True),
        "gru": nn.GRU(D, H),
        "bigru": nn.GRU(D, H, 3, bidirectional=True),
        "rnn relu": nn.RNN(D, H, nonlinearity="relu"),
        "birnn": nn.RNN(D, H, 2, bidirectional=True),
    }
    arrays = {"ids": ids, "lengths": lengths}
    for name, rnn in cases.items():
        size = rnn(torch.zeros(1, 1, D))[0].shape[2]
        parts = {"embed": nn.Embedding(V, D), "rnn": rnn, "norm": nn.LayerNorm(size)}
        parts |= {"batch": nn.BatchNorm1d(size), "out": nn.Linear(size, V)}
        net = nn.ModuleDict(parts).eval()
        with torch.no_grad():
            for weight in rnn.parameters():  # else norm magnifies how small y rounds
                weight.uniform_(-1, 1)
            net["batch"].running_mean.uniform_(-1, 1)
            net["batch"].running_var.uniform_(0.5, 2)
            e = net["embed"](torch.tensor(ids))
            packed = nn.utils.rnn.pack_padded_sequence(
                e, torch.tensor(lengths), enforce_sorted=False
            )
            ragged, h = rnn(packed)
            whole = {"y": rnn(e)[0]}
            whole["packed"] = nn.utils.rnn.pad_packed_sequence(ragged)[0]
            for key, y in whole.items():
                y = net["batch"](net["norm"](y).reshape(T * B, size))
                arrays[f"{name}|{key}"] = net["out"](y).reshape(T, B, V).numpy()
        arrays[f"{name}|h"] = (h[0] if isinstance(h, tuple) else h).numpy()
        state = net.state_dict()
        arrays |= {f"{name}|{key}": value.numpy() for key, value in state.items()}
        if name == "bilstm":
            save_file(state, folder / "torch.safetensors")
            floats = {k: v for k, v in state.items() if v.is_floating_point()}
            halves = {k: v.bfloat16() for k, v in floats.items()}
            save_file(halves, folder / "torch-bf16.safetensors")
            arrays |= {f"bf16|{k}": v.float().numpy() for k, v in halves.items()}
    tied = nn.ModuleDict({"embed": nn.Embedding(V, H), "out": nn.Linear(H, V)})
    tied["out"].weight = tied["embed"].weight
    save_model(tied, folder / "torch-tied.safetensors")
    np.savez(folder / "torch.npz", **arrays)


def onnx(folder):
    """Let PyTorch write a file, and onnxruntime compute its outputs."""
    import onnxruntime
    import torch
    from torch import nn

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = nn.Embedding(V, D)
            self.gru = nn.GRU(D, H, 2, bidirectional=True)
            self.lstm, self.rnn = nn.LSTM(2 * H, H), nn.RNN(H, H)
            self.norm, self.out = nn.LayerNorm(H), nn.Linear(H, V)

        def forward(self, ids):
            y = self.lstm(self.gru(self.embed(ids))[0])[0]
            return torch.log_softmax(self.out(self.norm(self.rnn(y)[0])), 2)

    torch.manual_seed(0)
    net = Net().eval()
    for weight in net.parameters():
        nn.init.uniform_(weight, -1, 1)
    path = str(folder / "torch.onnx")
    sizes = {"ids": {0: "T", 1: "B"}}
    options = {"dynamo": False, "opset_version": 17, "dynamic_axes": sizes}
    torch.onnx.export(net, (torch.tensor(ids),), path, input_names=["ids"], **options)
    (y,) = onnxruntime.InferenceSession(path).run(None, {"ids": ids})
    arrays = {k: a.detach().numpy() for k, a in net.state_dict().items()}
    np.savez(folder / "onnx.npz", ids=ids, y=y, **arrays)


def keras(folder):
    os.environ.setdefault("KERAS_BACKEND", "jax")
    import keras
    from keras import layers

    def lstm(**options):
        return layers.LSTM(H, return_sequences=True, **options)

    def gru(**options):
        return layers.GRU(H, return_sequences=True, **options)

    def rnn(**options):
        return layers.SimpleRNN(H, return_sequences=True, **options)

    both = layers.Bidirectional
    cases = {
        "lstm": [lstm()],
        "lstm no bias": [lstm(use_bias=False)],
        "lstms": [lstm(name="first"), lstm(name="second")],
        "bilstm": [both(lstm()), both(lstm())],
        "gru": [gru()],
        "gru before": [gru(reset_after=False)],
        "bigru": [both(gru())],
        "rnn": [rnn()],
        "birnn relu": [both(rnn(activation="relu"))],
    }
    shown = np.where(np.arange(T)[:, None] < lengths, ids.clip(1), 0)  # 0: no label
    arrays = {"ids": ids, "lengths": lengths, "padded": shown}
    for name, stack in cases.items():
        keras.utils.clear_session()
        start = y = masked = layers.Input((None,))
        parts = [layers.Embedding(V, D), *stack]
        parts += [layers.LayerNormalization(epsilon=1e-6)]
        parts += [layers.BatchNormalization(epsilon=2e-5), layers.Dense(V)]
        for part in parts:
            y = part(y)
        model = keras.Model(start, y)
        masks = layers.Embedding(V, D, mask_zero=True)
        for part in [masks, *parts[1:]]:
            masked = part(masked)
        masked = keras.Model(start, masked)
        for weight in model.weights:
            scale = rng.uniform(0.5, 1.0, weight.shape)
            is_variance = "variance" in weight.path
            sign = 1.0 if is_variance else rng.choice([-0.5, 0.5], weight.shape)
            weight.assign(scale * sign)
        masks.set_weights(parts[0].get_weights())
        arrays[f"{name}|y"] = np.array(model(ids.T)).transpose(1, 0, 2)
        arrays[f"{name}|masked"] = np.array(masked(shown.T)).transpose(1, 0, 2)
        model.save(folder / f"keras {name}.keras")
        if name == "bilstm":
            model.save_weights(folder / "keras bilstm.weights.h5")
    np.savez(folder / "keras.npz", **arrays)


def flax(folder):
    import flax.linen as nn
    import jax
    from flax import nnx, traverse_util

    def drawn(tree):
        draw = rng.uniform
        return jax.tree.map(lambda a: draw(-0.5, 0.5, a.shape).astype(np.float32), tree)

    arrays = {"x": x}
    for name in ("LSTMCell", "OptimizedLSTMCell", "GRUCell", "SimpleCell"):

        class Linen(nn.Module):
            cell: str

            @nn.compact
            def __call__(self, x):
                y = nn.RNN(getattr(nn, self.cell)(H, name="rnn"))(x)
                return nn.Dense(V, name="out")(nn.LayerNorm(name="norm")(y))

        class Nnx(nnx.Module):
            def __init__(self, cell, rngs):
                self.rnn = nnx.RNN(getattr(nnx, cell)(D, H, rngs=rngs))
                self.norm = nnx.LayerNorm(H, rngs=rngs)
                self.out = nnx.Linear(H, V, rngs=rngs)

            def __call__(self, x):
                return self.out(self.norm(self.rnn(x)))

        rows = x.transpose(1, 0, 2)
        module = Linen(name)
        variables = drawn(module.init(jax.random.PRNGKey(0), rows))
        flat = traverse_util.flatten_dict(variables, sep="/")
        y = np.array(module.apply(variables, rows))
        arrays |= {f"flax {name}|{k}": np.array(a) for k, a in flat.items()}
        arrays[f"flax {name}|y"] = y.transpose(1, 0, 2)
        model = Nnx(name, nnx.Rngs(0))
        nnx.update(model, drawn(nnx.state(model, nnx.Param)))
        state = nnx.to_pure_dict(nnx.state(model, nnx.Param))
        flat = traverse_util.flatten_dict(state, sep="/")
        arrays |= {f"nnx {name}|{k}": np.array(a) for k, a in flat.items()}
        arrays[f"nnx {name}|y"] = np.array(model(rows)).transpose(1, 0, 2)
    np.savez(folder / "flax.npz", **arrays)


def equinox(folder):
    import equinox as eqx
    import jax
    import jax.numpy as jnp

    arrays = {"x": x}
    keys = jax.random.split(jax.random.PRNGKey(0), 3)
    for name in ("LSTMCell", "GRUCell"):
        cell = getattr(eqx.nn, name)(D, H, key=keys[0])
        norm, out = eqx.nn.LayerNorm(H, eps=1e-6), eqx.nn.Linear(H, V, key=keys[1])

        def run(rows, cell=cell, norm=norm, out=out, name=name):
            state = (jnp.zeros(H), jnp.zeros(H)) if name == "LSTMCell" else jnp.zeros(H)
            ys = []
            for row in rows:
                state = cell(row, state)
                ys.append(out(norm(state[0] if name == "LSTMCell" else state)))
            return jnp.stack(ys)

        y = np.array(jax.vmap(run, 1, 1)(x))
        parts = {"rnn": cell, "norm": norm, "out": out}
        for path, part in parts.items():
            for key in ("weight_ih", "weight_hh", "bias", "bias_n", "weight"):
                value = getattr(part, key, None)
                if value is not None:
                    arrays[f"equinox {name}|{path}/{key}"] = np.array(value)
        arrays[f"equinox {name}|y"] = y
    np.savez(folder / "equinox.npz", **arrays)


if __name__ == "__main__":
    made, folder = sys.argv[1], Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    systems = {"torch": torch, "onnx": onnx, "keras": keras, "flax": flax}
    {**systems, "equinox": equinox}[made](folder)
