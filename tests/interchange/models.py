"""Models of dyrnn with the layers of those in tests/golden/make_interchange.py."""

import os
from pathlib import Path

import numpy as np

import dyrnn
import dyrnn.functions as F
import dyrnn.links as L

# Files that other systems wrote; those that they write now, with `make interchange`.
HERE = Path(__file__).resolve().parents[1] / "golden" / "interchange"
GOLDEN = Path(os.environ.get("INTERCHANGE_GOLDEN") or HERE)
V, D, H, P = 7, 3, 4, 2

# System, case -> the recurrent link, and its outputs.
RECURRENT = {
    "torch": {
        "lstm": (lambda: L.LSTM(D, H), H),
        "lstm no bias": (lambda: L.LSTM(D, H), H),
        "lstm projected": (lambda: L.LSTM(D, H, proj_size=P), P),
        "bilstm projected": (lambda: L.NStepBiLSTM(2, D, H, proj_size=P), 2 * P),
        "bilstm": (lambda: L.NStepBiLSTM(2, D, H, n_biases=2), 2 * H),
        "gru": (lambda: L.GRU(None, H), H),
        "bigru": (lambda: L.NStepBiGRU(3, D, H), 2 * H),
        "rnn relu": (lambda: L.ElmanRNN(D, H, "relu"), H),
        "birnn": (lambda: L.NStepBiRNNTanh(2, D, H), 2 * H),
    },
    "keras": {
        "lstm": (lambda: L.LSTM(D, H, n_biases=2), H),
        "lstm no bias": (lambda: L.LSTM(D, H), H),
        "lstms": (lambda: L.NStepLSTM(2, D, H), H),
        "bilstm": (lambda: L.NStepBiLSTM(2, D, H), 2 * H),
        "gru": (lambda: L.GRU(None, H), H),
        "gru before": (lambda: L.StatefulGRU(D, H), H),
        "bigru": (lambda: L.NStepBiGRU(1, D, H), 2 * H),
        "rnn": (lambda: L.ElmanRNN(D, H), H),
        "birnn relu": (lambda: L.NStepBiRNNReLU(1, D, H), 2 * H),
    },
}
CELLS = {
    "LSTMCell": lambda: L.LSTM(D, H),
    "OptimizedLSTMCell": lambda: L.NStepLSTM(1, D, H),
    "GRUCell": lambda: L.GRU(D, H),
    "SimpleCell": lambda: L.ElmanRNN(D, H),
}


def make(system, case):
    """Return a model from ids to scores."""
    rnn, size = RECURRENT[system][case]
    eps = (1e-5, 1e-5) if system == "torch" else (1e-6, 2e-5)
    return dyrnn.Chain(
        embed=L.EmbedID(V, D),
        rnn=rnn(),
        norm=L.LayerNormalization(size, eps=eps[0]),
        batch=L.BatchNormalization(size, eps=eps[1]),
        out=L.Linear(None if case == "gru" else size, V),
    )


def make_cell(cell):
    """Return a model from features to scores."""
    out = L.Linear(H, V)
    return dyrnn.Chain(rnn=CELLS[cell](), norm=L.LayerNormalization(H), out=out)


def run(model, x, way="window", lengths=None):
    """Return the scores (T, B, V), computed by window, by steps or ragged lists.

    Those behind a sequence's end, where ``lengths`` are given, mean nothing.
    """
    T, B = x.shape[:2]
    with dyrnn.using_config("train", False), dyrnn.no_backprop_mode():
        h = model.embed(x) if hasattr(model, "embed") else dyrnn.as_variable(x)
        rnn = model.rnn
        if isinstance(rnn, L.Recurrent):
            rnn.reset_state()
            steps = way == "steps"
            y = F.stack([rnn(step) for step in h], 0) if steps else rnn(h, lengths)
        else:
            ends = [T] * B if lengths is None else lengths
            sequences = [h[:end, k] for k, end in enumerate(ends)]
            if way == "steps":  # the first sequences again, cut, beside the whole ones
                sequences += [h[:2, k] for k in range(B)]
            *_, ys = rnn(*[None] * rnn.n_states, sequences)
            y = F.pad_sequence(ys[:B], T).transpose((1, 0, 2))
        y = model.norm(y)
        if hasattr(model, "batch"):
            y = model.batch(y.reshape((T * B, -1))).reshape(y.shape)
        return np.asarray(model.out(y).array)
