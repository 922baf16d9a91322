"""The systems: for each kind of layer, the layouts of :mod:`dyrnn.interchange.layouts`.

A kind may have several layouts, as a cell and a layer of PyTorch have; that one counts
whose names are there, and the first is written.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from dyrnn import links as L
from dyrnn.errors import InterchangeError
from dyrnn.interchange.layers import Layer
from dyrnn.interchange.layouts import Blocks, Interleaved, Layout, Raw


@dataclass
class System:
    """Names and layouts of one system.

    Attributes
    ----------
    name : str
        As in messages.
    layouts : callable
        Returns the list of possible layouts of a layer; none where the system has no
        such layer.
    separator : str
        Between the names of a path.
    has_stacks : bool
        Whether a stack of layers, or of directions, is one module there.
    has_directions : bool
        Whether a layer in two directions is one there.
    infixes : tuple of str
        What may stand between a layer's path and the names.
    ignored : tuple of str
        Patterns of names that hold no weights.
    unknown : tuple of types
        Links that are computed otherwise there, or not at all.
    """

    name: str
    layouts: Callable[[Layer], list[Layout]]
    separator: str = "."
    has_stacks: bool = False
    has_directions: bool = True
    infixes: tuple[str, ...] = ("",)
    ignored: tuple[str, ...] = ()
    unknown: tuple[type, ...] = ()


def _renamed(**names: str) -> Layout:
    return {key: Blocks(name) for key, name in names.items()}


def _transposed(name, *order):
    return Blocks(name, order=order or (0,), transposed=True)


def _own(layer):
    """Return the layout of a link's own names, for what has no kind."""
    return {name: Raw(name) for name in layer.parts}


# -- PyTorch -------------------------------------------------------------------------


def _torch(layer):
    if layer.kind in _TORCH:
        return [_TORCH[layer.kind]]
    if layer.kind == "parameters":
        return [_own(layer)]
    if layer.kind not in ("lstm", "rnn", "gru") or layer.options.get("reset_after") is (
        False
    ):
        return []
    names = {"W": "weight_ih", "U": "weight_hh", "b": "bias_ih", "b_u": "bias_hh"}
    cell = _renamed(**names)
    names["V"] = "weight_hr"
    module = _renamed(**{key: name + "_l{l}{r}" for key, name in names.items()})
    if layer.n_in_stack > 1 or layer.directions > 1 or "V" in layer.parts:
        return [module]
    is_cell = isinstance(layer.link, L.StatelessLSTM)
    return [cell, module] if is_cell else [module, cell]


_TORCH = {
    "linear": _renamed(W="weight", b="bias"),
    "embedding": _renamed(W="weight"),
    "layer_norm": _renamed(gamma="weight", beta="bias"),
    "batch_norm": _renamed(
        gamma="weight", beta="bias", mean="running_mean", var="running_var"
    ),
}

# -- Keras ---------------------------------------------------------------------------


def _keras(layer):
    matrices = {"W": _transposed("vars/0"), "U": _transposed("vars/1")}
    if layer.kind in ("lstm", "rnn"):
        return [{**matrices, "b+b_u": Blocks("vars/2")}]
    if layer.kind == "gru":
        order = (1, 0, 2)  # z, r, n
        layout = {
            "W": _transposed("vars/0", *order),
            "U": _transposed("vars/1", *order),
        }
        if layer.options["reset_after"]:
            return [{**layout, "b|b_u": _transposed("vars/2", *order)}]
        return [{**layout, "b+b_u": Blocks("vars/2", order=order)}]
    return [_KERAS[layer.kind]] if layer.kind in _KERAS else []


_KERAS = {
    "linear": {"W": _transposed("vars/0"), "b": Blocks("vars/1")},
    "embedding": _renamed(W="vars/0"),
    "layer_norm": _renamed(gamma="vars/0", beta="vars/1"),
    "batch_norm": _renamed(gamma="vars/0", beta="vars/1", mean="vars/2", var="vars/3"),
}

# -- Flax ----------------------------------------------------------------------------


def _per_gate(letters, i_f="if"):
    """Return the layout with a kernel for each gate, biases apart."""
    names = [i_f if g == "f" else f"i{g}" for g in letters]
    order = range(len(letters))
    return {
        "W": Blocks(*[f"{n}/kernel" for n in names], order=order, transposed=True),
        "U": Blocks(*[f"h{g}/kernel" for g in letters], order=order, transposed=True),
    }


def _flax_lstm(i_f="if"):
    biases = [f"h{g}/bias" for g in "ifgo"]
    return {**_per_gate("ifgo", i_f), "b+b_u": Blocks(*biases, order=range(4))}


def _linen(layer):
    if layer.kind == "lstm":
        return [_flax_lstm()]
    if layer.kind == "gru" and layer.options["reset_after"]:
        biases = Blocks(*[f"i{g}/bias" for g in "rzn"], order=range(3))
        return [{**_per_gate("rzn"), "b+b_rz": biases, "b_n": Blocks("hn/bias")}]
    if layer.kind == "rnn":
        maps = {"W": _transposed("i/kernel"), "U": _transposed("h/kernel")}
        return [{**maps, "b+b_u": Blocks("i/bias")}]
    if layer.kind == "parameters":
        return [_own(layer)]
    return [_FLAX[layer.kind]] if layer.kind in _FLAX else []


def _nnx(layer, cell=None):
    maps = {"W": _transposed("dense_i/kernel"), "U": _transposed("dense_h/kernel")}
    if layer.kind == "lstm":
        layouts = [{**maps, "b+b_u": Blocks("dense_h/bias")}, _flax_lstm("if_")]
        return layouts[::-1] if cell == "LSTMCell" else layouts
    if layer.kind == "gru" and layer.options["reset_after"]:
        return [{**maps, "b+b_rz": Blocks("dense_i/bias")}]
    if layer.kind == "rnn":
        return [{**maps, "b+b_u": Blocks("dense_i/bias")}]
    return _linen(layer) if layer.kind != "gru" else []


_FLAX = {
    "linear": {"W": _transposed("kernel"), "b": Blocks("bias")},
    "embedding": _renamed(W="embedding"),
    "layer_norm": _renamed(gamma="scale", beta="bias"),
    "batch_norm": _renamed(gamma="scale", beta="bias", mean="mean", var="var"),
}

# -- Equinox -------------------------------------------------------------------------


def _equinox(layer):
    maps = _renamed(W="weight_ih", U="weight_hh")
    if layer.kind == "lstm":
        return [{**maps, "b+b_u": Blocks("bias")}]
    if layer.kind == "gru" and layer.options["reset_after"]:
        return [{**maps, **_renamed(**{"b+b_rz": "bias", "b_n": "bias_n"})}]
    if layer.kind == "parameters":
        return [_own(layer)]
    known = layer.kind in ("linear", "embedding", "layer_norm")
    return [_TORCH[layer.kind]] if known else []


# -- TensorFlow 1 --------------------------------------------------------------------


def _i_j_f_o(forget_bias):
    order = (0, 2, 1, 3)  # j is g
    return {
        "W|U": _transposed("kernel", *order),
        "b+b_u": Blocks("bias", order=order, offsets={1: forget_bias}),
    }


def _r_u_c(*names):
    kernels, biases = names[:2], names[2:]
    order, counts = (0, 1, 2), (2, 1)
    return {
        "W|U": Blocks(*kernels, order=order, counts=counts, transposed=True),
        "b+b_u": Blocks(*biases, order=order, counts=counts),
    }


_GRU = [
    _r_u_c("gates/kernel", "candidate/kernel", "gates/bias", "candidate/bias"),
    _r_u_c("w_ru", "w_c", "b_ru", "b_c"),
]
_DIAGONALS = Blocks("w_i_diag", "w_f_diag", "w_o_diag", order=(0, 1, 2))


def _tensorflow(cell, forget_bias):
    lstm = _i_j_f_o(forget_bias)
    cells = {
        "BasicLSTMCell": [lstm],
        "LSTMCell": [{**lstm, "V": _transposed("projection/kernel")}],
        "LSTMBlockCell": [lstm],
        "BlockLSTM": [lstm],
        "BlockLSTMV2": [{"W|U": _transposed("kernel"), "b+b_u": Blocks("bias")}],
        "GRUCell": _GRU,
        "GRUBlockCell": _GRU,
        "BasicRNNCell": [{"W|U": _transposed("kernel"), "b+b_u": Blocks("bias")}],
        None: [],
    }
    if cell not in cells:
        raise InterchangeError(
            f"cell={cell!r} is not known; use one of {', '.join(filter(None, cells))}"
        )
    kind = "gru" if "GRU" in str(cell) else "rnn" if "RNN" in str(cell) else "lstm"

    def layouts(layer):
        if layer.kind in ("lstm", "gru", "rnn"):
            if cell is None:
                raise InterchangeError(
                    f"{layer}: arrays do not tell the kind of TensorFlow's cell; give "
                    "cell='BasicLSTMCell', say"
                )
            if layer.kind != kind or layer.options.get("reset_after"):
                return []
            more = {"p": _DIAGONALS} if "peephole" in layer.parts else {}
            return [{**layout, **more} for layout in cells[cell]]
        if layer.kind == "embedding":
            return [_renamed(W=""), _renamed(W="embeddings")]
        return [_KERNEL] if layer.kind == "linear" else []

    return layouts


_KERNEL = {"W": _transposed("kernel"), "b": Blocks("bias")}

# -- Chainer -------------------------------------------------------------------------


_UNKNOWN = (
    L.GRU,
    L.ElmanRNN,
    L.JordanRNN,
    L.MGU,
    L.StatefulPeepholeLSTM,
    L.ChildSumTreeLSTM,
    L.NaryTreeLSTM,
)


def _chainer(layer):
    if layer.kind == "lstm" and layer.n_in_stack == 0:
        if "V" in layer.parts or "b_u" in layer.parts:
            return []
        names = {"W": "upward/W", "U": "lateral/W", "b": "upward/b"}
        return [{key: Interleaved(name) for key, name in names.items()}]
    if layer.n_in_stack:
        n = {"lstm": 4, "gru": 3, "rnn": 1}[layer.kind]

        def stacked(kind, first):
            names = [f"{{k}}/{kind}{i}" for i in range(first, first + n)]
            return Blocks(*names, order=range(n))

        return [
            {
                "W": stacked("w", 0),
                "U": stacked("w", n),
                "b": stacked("b", 0),
                "b_u": stacked("b", n),
            }
        ]
    if layer.kind == "gru" and not layer.options["reset_after"]:
        signs = (1, -1, 1)  # its update gate is the complement of ours

        def maps(kind, name):
            names = [f"{kind}{gate}/{name}" for gate in ("_r", "_z", "")]
            return Blocks(*names, order=range(3), signs=signs)

        return [
            {"W": maps("W", "W"), "U": maps("U", "W"), "b": maps("W", "b")}
            | {"b_u": maps("U", "b")}
        ]
    return [{name: Raw(part) for name, ((_, part, _),) in layer.parts.items()}]


def system(name: str, cell: str | None = None, forget_bias: float = 1.0) -> System:
    """Return a system by its name; the other arguments are as in ``load``."""
    if name == "tensorflow":
        return System("TensorFlow", _tensorflow(cell, forget_bias), "/")
    if name == "nnx":
        return replace(SYSTEMS[name], layouts=partial(_nnx, cell=cell))
    if name not in SYSTEMS:
        known = ", ".join([*SYSTEMS, "tensorflow"])
        raise InterchangeError(f"system {name!r} is not known; use one of {known}")
    return SYSTEMS[name]


SYSTEMS = {
    "torch": System(
        "PyTorch", _torch, has_stacks=True, ignored=("*num_batches_tracked",)
    ),
    "keras": System(
        "Keras",
        _keras,
        "/",
        infixes=("cell/", ""),
        ignored=("optimizer/*", "*seed_generator*", "metrics/*"),
    ),
    "flax": System("Flax", _linen, "/", infixes=("", "cell/")),
    "nnx": System("Flax nnx", _nnx, "/", infixes=("cell/", ""), ignored=("*rngs/*",)),
    "equinox": System("Equinox", _equinox, "/", infixes=("", "cell/")),
    "chainer": System(
        "Chainer",
        _chainer,
        "/",
        has_stacks=True,
        has_directions=False,
        unknown=_UNKNOWN,
    ),
}
