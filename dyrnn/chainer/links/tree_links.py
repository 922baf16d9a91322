"""LSTM cells of trees: ``c, h = link(c1, ..., h1, ..., x)``."""

from dyrnn.chainer.functions import elementwise, joining, recurrent
from dyrnn.chainer.link import Chain
from dyrnn.chainer.links.connection_links import Linear


def _split_inputs(cshsx):
    """Return the children's cells, their outputs, and the input."""
    *states, x = cshsx
    n = len(states) // 2
    assert len(states) == 2 * n
    return states[:n], states[n:], x


def _input_or_zeros(link, cs, hs, x):
    """Return the input; zeros for a node that has none."""
    if x is not None:
        return x
    known = next((v for v in (*cs, *hs) if v is not None), None)
    if known is None:
        raise ValueError("All inputs (cs, hs, x) are None.")
    return link.xp.zeros((known.shape[0], link.in_size), dtype=known.dtype)


class ChildSumTreeLSTM(Chain):
    """A tree LSTM that adds its children up."""

    def __init__(self, in_size, out_size):
        super().__init__()
        with self.init_scope():
            self.W_x = Linear(in_size, 4 * out_size)
            self.W_h_aio = Linear(out_size, 3 * out_size, nobias=True)
            self.W_h_f = Linear(out_size, out_size, nobias=True)
        self.in_size = in_size
        self.state_size = out_size

    def forward(self, *cshsx):
        """Return ``c, h`` from the children's cells, then outputs, then the input.

        None stands for zeros.
        """
        cs, hs, x = _split_inputs(cshsx)
        x = _input_or_zeros(self, cs, hs, x)
        sigmoid, tanh = elementwise.sigmoid, elementwise.tanh
        a, i, o, f = joining.split_axis(self.W_x(x), 4, 1)
        known = [h for h in hs if h is not None]
        if known:
            ah, ih, oh = joining.split_axis(self.W_h_aio(sum(known)), 3, 1)
            a, i, o = a + ah, i + ih, o + oh
        c = tanh(a) * sigmoid(i)
        for c_child, h_child in zip(cs, hs, strict=True):
            if c_child is not None:
                gate = f if h_child is None else f + self.W_h_f(h_child)
                c = c + sigmoid(gate) * c_child
        return c, sigmoid(o) * tanh(c)


class NaryTreeLSTM(Chain):
    """A tree LSTM with weights of its own for each child."""

    def __init__(self, in_size, out_size, n_ary=2):
        assert n_ary >= 1
        super().__init__()
        with self.init_scope():
            self.W_x = Linear(in_size, (3 + n_ary) * out_size)
            for k in range(1, n_ary + 1):
                lateral = Linear(out_size, (3 + n_ary) * out_size, nobias=True)
                setattr(self, f"W_h{k}", lateral)
        self.in_size = in_size
        self.state_size = out_size
        self.n_ary = n_ary

    def forward(self, *cshsx):
        """Return ``c, h`` from the children's cells, then outputs, then the input.

        None stands for zeros.
        """
        assert len(cshsx) == 2 * self.n_ary + 1
        cs, hs, x = _split_inputs(cshsx)
        x = _input_or_zeros(self, cs, hs, x)
        gates = self.W_x(x)
        for k, h in enumerate(hs, 1):
            if h is not None:
                gates = gates + getattr(self, f"W_h{k}")(h)
        zeros = self.xp.zeros((x.shape[0], self.state_size), dtype=x.dtype)
        return recurrent.tree_lstm(*[zeros if c is None else c for c in cs], gates)
