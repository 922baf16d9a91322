"""The LSTM of ``--cell plain``, to read and to compare with ``L.LSTM``."""

import dyrnn
import dyrnn.functions as F
import dyrnn.links as L


class PlainLSTM(dyrnn.Chain):
    """An LSTM written out in elementary functions, to read and to compare with."""

    carried = ("c", "h")
    takes_windows = True

    def __init__(self, in_size, out_size):
        super().__init__()
        with self.init_scope():
            self.upward = L.Linear(in_size, 4 * out_size)
            self.lateral = L.Linear(out_size, 4 * out_size, nobias=True)
        self.out_size = out_size
        self.c = self.h = None

    def forward(self, x):
        if x.ndim == 3:  # a window
            return F.stack([self(x[t]) for t in range(len(x))])
        if self.h is None:
            zeros = self.xp.zeros((len(x), self.out_size), x.dtype)
            self.c = self.h = dyrnn.as_variable(zeros)
        gates = self.upward(x) + self.lateral(self.h)
        i, f, g, o = F.split_axis(gates, 4, axis=1)
        self.c = F.sigmoid(f) * self.c + F.sigmoid(i) * F.tanh(g)
        self.h = F.sigmoid(o) * F.tanh(self.c)
        return self.h
