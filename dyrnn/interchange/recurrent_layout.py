"""ONNX's layout of recurrent layers: LSTM, GRU and RNN in one or two directions.

``W`` (D, nH, I), ``R`` (D, nH, H), ``B`` (D, 2nH), the input's biases before the
state's; gates in the order i, o, f, c of an LSTM, z, r, h of a GRU.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dyrnn.errors import InterchangeError
from dyrnn.typing import Array

# For each gate of ONNX its place in ours: i, f, g, o and r, z, n.
_ORDERS = {"lstm": [0, 3, 1, 2], "gru": [1, 0, 2], "rnn": [0]}
_OURS = {kind: np.argsort(order).tolist() for kind, order in _ORDERS.items()}
_ACTIVATIONS = {"tanh": "Tanh", "relu": "Relu", "sigmoid": "Sigmoid"}
_DEFAULTS = {"lstm": ["Sigmoid", "Tanh", "Tanh"], "gru": ["Sigmoid", "Tanh"]}
KINDS = {"LSTM": "lstm", "GRU": "gru", "RNN": "rnn"}


def reordered(array: Array, order: Sequence[int]) -> Array:
    """Return the blocks of rows in another order."""
    blocks = np.split(array, len(order))
    return np.concatenate([blocks[i] for i in order])


def onnx_cells(
    kind: str,
    cells: Sequence[Mapping[str, Array]],
    reset_after: bool = True,
    activation: str | None = "tanh",
) -> tuple[str, dict[str, Array], dict[str, Any]]:
    """Return operation, arrays W, R, B and attributes of a layer.

    Parameters
    ----------
    kind : {"lstm", "gru", "rnn"}
    cells : sequence of dict
        For each direction W, U, b and perhaps b_u, in the layout of
        :mod:`dyrnn.interchange.layers`.
    reset_after, activation
        Of a GRU, and of an RNN.
    """
    if any({"V", "peephole"} & cell.keys() for cell in cells):
        raise InterchangeError("an LSTM with a projection or peepholes has no export")
    if kind == "rnn" and activation not in ("tanh", "relu"):
        raise InterchangeError(f"an RNN with the activation {activation} has no export")
    order = _ORDERS[kind]

    def stacked(*names):
        rows = []
        for cell in cells:
            zeros = np.zeros_like(cell["b"])
            parts = [reordered(cell.get(name, zeros), order) for name in names]
            rows.append(np.concatenate(parts))
        return np.stack(rows)

    arrays = {"W": stacked("W"), "R": stacked("U"), "B": stacked("b", "b_u")}
    attributes: dict[str, Any] = {"hidden_size": arrays["R"].shape[2]}
    if len(cells) == 2:
        attributes["direction"] = "bidirectional"
    if kind == "gru":
        attributes["linear_before_reset"] = int(reset_after)
    if kind == "rnn" and activation != "tanh":
        attributes["activations"] = [_ACTIVATIONS[activation]] * len(cells)
    return kind.upper(), arrays, attributes


def our_cells(
    op: str, W: Array, R: Array, B: Array | None, attributes: Mapping[str, Any]
) -> tuple[list[dict[str, Array]], dict[str, Any]]:
    """Return the cells of a layer of ONNX, and its options; see :func:`onnx_cells`.

    Raises
    ------
    InterchangeError
        If shapes do not fit together, or the layer is of a kind that is not here.
    """
    kind = KINDS[op]
    n = len(_ORDERS[kind])
    D = 2 if attributes.get("direction") == "bidirectional" else 1
    H = attributes.get("hidden_size", R.shape[-1] if R.ndim == 3 else 0)
    if W.ndim != 3 or W.shape[:2] != (D, n * H) or R.shape != (D, n * H, H) or H < 1:
        raise InterchangeError(
            f"{op}: W has the shape {W.shape} and R {R.shape}, but {D} directions of "
            f"{H} units need ({D}, {n * H}, any) and ({D}, {n * H}, {H})"
        )
    B = np.zeros((D, 2 * n * H), W.dtype) if B is None else B
    if B.shape != (D, 2 * n * H):
        raise InterchangeError(f"{op}: B has the shape {B.shape}, not {D, 2 * n * H}")
    options = _options(op, kind, D, attributes)
    cells = []
    for w, r, b in zip(W, R, B, strict=True):
        names = {"W": w, "U": r, "b": b[: n * H], "b_u": b[n * H :]}
        cells.append({k: reordered(a, _OURS[kind]) for k, a in names.items()})
    return cells, options


def _options(op, kind, D, attributes):
    for name, value in {"layout": 0, "input_forget": 0}.items():
        if attributes.get(name, value) != value:
            raise InterchangeError(f"{op}: {name}={attributes[name]} is not read")
    if "clip" in attributes:
        raise InterchangeError(f"{op}: clip is not read")
    direction = attributes.get("direction", "forward")
    if direction not in ("forward", "reverse", "bidirectional"):
        raise InterchangeError(f"{op}: direction is {direction!r}")
    given = attributes.get("activations")
    if kind == "rnn":
        names = {"Tanh": "tanh", "Relu": "relu"}
        given = given or ["Tanh"]
        if given not in ([given[0]], [given[0]] * D) or given[0] not in names:
            raise InterchangeError(f"{op}: activations {given} are not read")
        return {"activation": names[given[0]]}
    if given not in (None, _DEFAULTS[kind] * D):
        raise InterchangeError(f"{op}: activations {given} are not read")
    if kind == "gru":
        return {"reset_after": bool(attributes.get("linear_before_reset", 0))}
    return {}
