"""One use of every link, for tests that run over all of them; needs NumPy only."""

import numpy as np

import dyrnn.links as L
from tests.functions.cases import ids, spread

B, SIZE, OUT, LABELS = 4, 6, 5, 7
X = spread(B, SIZE).astype(np.float32)
WINDOW = spread(3, B, SIZE, seed=1).astype(np.float32)
STATE = spread(B, OUT, seed=2).astype(np.float32)
T = ids(B, high=LABELS)
SEQUENCES = [spread(n, SIZE, seed=n).astype(np.float32) for n in (2, 4, 1)]
COUNTS = list(range(1, LABELS + 1))
TREE = ((0, 1), ((2, 3), (4, (5, 6))))

WINDOWS = """
ElmanRNN LSTM StatefulPeepholeLSTM StatefulZoneoutLSTM GRU StatefulGRU MGU
""".split()
STACKS = """
NStepRNNTanh NStepRNNReLU NStepBiRNNTanh NStepBiRNNReLU NStepLSTM NStepBiLSTM NStepGRU
NStepBiGRU
""".split()


class Attending(L.Attention):
    """Remembers and attends in one call."""

    def forward(self, query, keys):
        self.remember(keys, lengths=np.arange(B))
        return super().forward(query)


def scaler():
    """A scaler that has measured something."""
    link = L.StandardScaler(SIZE)
    link.fit(3 * WINDOW + 1)
    return link


# Name -> function that makes the link, and what it is called with.
LINKS = {
    "Linear": (lambda: L.Linear(SIZE, OUT), (X,)),
    "EmbedID": (lambda: L.EmbedID(LABELS, OUT), (T,)),
    "EmbedID that ignores": (lambda: L.EmbedID(LABELS, OUT, ignore_label=2), (T,)),
    "Bias": (lambda: L.Bias(shape=(SIZE,)), (X,)),
    "Scale": (lambda: L.Scale(W_shape=(SIZE,), bias_term=True), (X,)),
    "Bilinear": (lambda: L.Bilinear(SIZE, OUT, 3), (X, STATE)),
    "Maxout": (lambda: L.Maxout(SIZE, OUT, pool_size=3), (X,)),
    "Highway": (lambda: L.Highway(SIZE), (X,)),
    "Parameter": (lambda: L.Parameter(X.copy()), ()),
    "Dropout": (lambda: L.Dropout(0.3), (X,)),
    "Classifier": (lambda: L.Classifier(L.Linear(SIZE, LABELS)), (X, T)),
    "LayerNormalization": (lambda: L.LayerNormalization(SIZE), (X,)),
    "BatchNormalization": (lambda: L.BatchNormalization(SIZE), (X,)),
    "StandardScaler": (scaler, (WINDOW,)),
    "JordanRNN": (lambda: L.JordanRNN(SIZE, 4, OUT), (WINDOW,)),
    "StatelessLSTM": (lambda: L.StatelessLSTM(SIZE, OUT), (STATE, STATE, X)),
    "StatelessGRU": (lambda: L.StatelessGRU(SIZE, OUT), (STATE, X)),
    "ChildSumTreeLSTM": (lambda: L.ChildSumTreeLSTM(SIZE, OUT), (STATE,) * 4 + (X,)),
    "NaryTreeLSTM": (lambda: L.NaryTreeLSTM(SIZE, OUT), (STATE,) * 4 + (X,)),
    "Attention": (lambda: Attending(OUT, SIZE), (STATE, WINDOW)),
    "Attention additive": (lambda: Attending(OUT, SIZE, "additive"), (STATE, WINDOW)),
    "NegativeSampling": (lambda: L.NegativeSampling(SIZE, COUNTS, 3), (X, T)),
    "AdaptiveSoftmax": (lambda: L.AdaptiveSoftmax(SIZE, LABELS, [1, 2], 1.5), (X, T)),
    "BlackOut": (lambda: L.BlackOut(SIZE, COUNTS, 3), (X, T)),
    "BinaryHierarchicalSoftmax": (
        lambda: L.BinaryHierarchicalSoftmax(SIZE, TREE),
        (X, T),
    ),
    "CRF1d": (
        lambda: L.CRF1d(SIZE),
        ([WINDOW[0], WINDOW[1]], [T % SIZE, (T + 1) % SIZE]),
    ),
}
LINKS |= {
    f"Bidirectional of {what}": (
        lambda: L.Bidirectional(L.LSTM(SIZE, OUT), L.MGU(SIZE, OUT)),
        args,
    )
    for what, args in {
        "a window": (WINDOW,),
        "padding": (WINDOW, T % 4),
        "a list": (SEQUENCES,),
    }.items()
}
LINKS |= {
    name: (lambda name=name: getattr(L, name)(SIZE, OUT), (WINDOW,)) for name in WINDOWS
}
LINKS |= {
    name: (
        lambda name=name: getattr(L, name)(2, SIZE, OUT),
        ((None,) * (2 if "LSTM" in name else 1)) + (SEQUENCES,),
    )
    for name in STACKS
}
NOT_LINKS = {"WalkerAlias", "Recurrent"}  # a table of random numbers, a base


def arrays_of(outputs):
    """Yield the variables in what a link returned, however nested."""
    if isinstance(outputs, (list, tuple)):
        for output in outputs:
            yield from arrays_of(output)
    elif outputs is not None:
        yield outputs


def sent(value, device):
    """Return arguments on a device, lists of arrays item by item."""
    if isinstance(value, (list, tuple)):
        return type(value)(sent(item, device) for item in value)
    return None if value is None else device.send(value)


def run(name, device):
    """Return outputs and parameters' gradients of a link whose parameters are fixed."""
    import dyrnn
    import dyrnn.functions as F

    dyrnn.random.seed(3)
    make, args = LINKS[name]
    link = make()
    rng = np.random.default_rng(4)
    for param in link.params():
        param.array[...] = rng.uniform(-0.5, 0.5, param.shape)
    link.to_device(device)
    outputs = list(arrays_of(link(*sent(args, device))))
    loss = sum(F.sum(y * y) for y in outputs)
    if loss.requires_grad:  # dropout has no parameters
        loss.backward()
    gradients = [param.grad for param in link.params()]
    return [y.array for y in outputs] + gradients
