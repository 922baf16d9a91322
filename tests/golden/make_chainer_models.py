"""Makes chainer-*.npz with Chainer 7.8.1 itself, under Python 3.8 and NumPy 1.23.

A snapshot of a language model in training, layers of every layout, and what they
compute: ``python3.8 make_chainer_models.py`` writes beside this file.
"""

import os

import chainer
import chainer.functions as F
import chainer.links as L
import numpy as np
from chainer import training
from chainer.training import extensions

HERE = os.path.dirname(os.path.abspath(__file__))
V, D, H, T, B = 7, 4, 3, 5, 2


class RNNForLM(chainer.Chain):
    def __init__(self):
        super().__init__()
        with self.init_scope():
            self.embed = L.EmbedID(V, D)
            self.l1 = L.LSTM(D, H)
            self.l2 = L.LSTM(H, H)
            self.l3 = L.Linear(H, V)

    def reset_state(self):
        self.l1.reset_state()
        self.l2.reset_state()

    def forward(self, x):
        return self.l3(self.l2(self.l1(self.embed(x))))


class Layers(chainer.Chain):
    def __init__(self):
        super().__init__()
        with self.init_scope():
            self.stateless = L.StatelessLSTM(D, H)
            self.zoneout = L.StatefulZoneoutLSTM(D, H)
            self.gru = L.StatefulGRU(D, H)
            self.n_lstm = L.NStepLSTM(2, D, H, 0.0)
            self.bi_lstm = L.NStepBiLSTM(2, D, H, 0.0)
            self.n_gru = L.NStepGRU(2, D, H, 0.0)
            self.n_tanh = L.NStepRNNTanh(2, D, H, 0.0)
            self.norm = L.LayerNormalization(D)
            self.crf = L.CRF1d(H)


def main():
    np.random.seed(1)
    text = np.random.randint(0, V, 40).astype("i")
    pairs = [(text[i], text[i + 1]) for i in range(len(text) - 1)]
    model = L.Classifier(RNNForLM())
    optimizer = chainer.optimizers.Adam(0.01).setup(model)
    iterator = chainer.iterators.SerialIterator(pairs, 8)
    updater = training.StandardUpdater(iterator, optimizer)

    class Reset(training.Extension):
        trigger = (1, "iteration")

        def __call__(self, trainer):
            model.predictor.reset_state()

    trainer = training.Trainer(updater, (3, "iteration"), out=HERE)
    trainer.extend(Reset())
    trainer.extend(extensions.LogReport(trigger=(2, "iteration")))
    trainer.extend(
        extensions.snapshot(filename="chainer-snapshot.npz"), trigger=(3, "iteration")
    )
    trainer.run()
    os.remove(os.path.join(HERE, "log"))

    out = {}
    chainer.config.train = False
    ids = np.random.randint(0, V, (T, B)).astype("i")
    model.predictor.reset_state()
    out["ids"] = ids
    out["scores"] = np.stack([model.predictor(x).array for x in ids])

    layers = Layers()
    for param in layers.params():
        param.array[...] = np.random.uniform(-1, 1, param.shape)
    chainer.serializers.save_npz(os.path.join(HERE, "chainer-layers.npz"), layers)
    x = np.random.uniform(-1, 1, (T, B, D)).astype("f")
    sequences = [x[:, 0], x[:3, 1]]
    out["x"] = x
    c = h = None
    for row in x:
        c, h = layers.stateless(c, h, row)
    out["stateless"] = h.array
    out["zoneout"] = np.stack([layers.zoneout(row).array for row in x])
    out["gru"] = np.stack([layers.gru(row).array for row in x])
    for name in ("n_lstm", "bi_lstm"):
        _, cy, ys = layers[name](None, None, sequences)
        out[name] = F.concat(ys, axis=0).array
        out[name + "_c"] = cy.array
    for name in ("n_gru", "n_tanh"):
        _, ys = layers[name](None, sequences)
        out[name] = F.concat(ys, axis=0).array
    out["norm"] = layers.norm(x[0]).array
    np.savez(os.path.join(HERE, "chainer-outputs.npz"), **out)


if __name__ == "__main__":
    main()
