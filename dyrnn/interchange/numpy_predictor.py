"""A model as one Python file that predicts with NumPy alone, one step at a call.

The file has a class ``Model`` with ``step``, ``run`` and ``reset_state``; the weights
are in an ``.npz`` beside it. It is for programs that must stay small.
"""

import keyword
import re
import warnings
from collections.abc import Callable, Container, Sequence
from os import PathLike, path
from typing import Any

import numpy as np

from dyrnn.engine.core import as_array
from dyrnn.errors import InterchangeError
from dyrnn.interchange.files import open_file
from dyrnn.interchange.graphs import Graph, Node, dtype_of
from dyrnn.interchange.layers import describe
from dyrnn.interchange.onnx_models import NEXT, OnnxModel
from dyrnn.interchange.recurrent_layout import KINDS
from dyrnn.interchange.tracing import FirstStepWarning, trace
from dyrnn.link import Link
from dyrnn.serializers.atomic import atomic_output

_HEAD = '''"""A trained model that predicts with NumPy alone.

    model = Model()  # reads {npz!r}, beside this file
    y = model.step({arguments})  # {shapes}
    ys = model.run({plural})  # a step for each element of a window, one after the other
    model.reset_state()  # before a sequence that does not go on from the last one
"""

{imports}

import numpy as np


def checked(x, name, kinds, shape):
    x = np.asarray(x)
    sizes = zip(shape, x.shape)
    is_one = x.ndim == len(shape) and all(n in (None, m) for n, m in sizes)
    if not is_one or x.dtype.kind not in kinds:
        kind = "numbers" if "f" in kinds else "integers"
        raise ValueError(
            f"{{name}} is {{x.dtype}} {{x.shape}}, a step takes {{kind}} {{shape}}"
        )
    return np.asarray(x, np.float32) if "f" in kinds else x


def sigmoid(x):
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, np.float32(1), e) / (e + np.float32(1))


def log_softmax(x, axis):
    x = x - x.max(axis=axis, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=axis, keepdims=True))


def rows(W, ids):
    if ids.size and not 0 <= ids.min() <= ids.max() < len(W):
        raise ValueError(f"ids {{ids.min()}} to {{ids.max()}}, not 0 to {{len(W) - 1}}")
    return W[ids]


class Model:
    def __init__(self, file=None):
        file = file or os.path.splitext(os.path.abspath(__file__))[0] + ".npz"
        with np.load(file, allow_pickle=False) as arrays:
            self.w = dict(arrays)
        self.reset_state()

    def reset_state(self):
        self.state = {{}}

    def carried(self, name, shape):
        state = self.state.get(name)
        if state is None:
            return np.zeros(shape, np.float32)
        if state.shape != shape:
            raise ValueError(
                f"{{name}} has shape {{state.shape}}, the step needs {{shape}}: call "
                "reset_state() before new sequences"
            )
        return state

    def run(self, *windows):
        if len(set(map(len, windows))) != 1 or not len(windows[0]):
            raise ValueError("windows have the same number of steps, at least one")
        steps = [self.step(*xs) for xs in zip(*windows)]
        if isinstance(steps[0], tuple):
            return tuple(np.stack(ys) for ys in zip(*steps))
        return np.stack(steps)
'''
_BEGINS = b'"""A trained model', b"/* A trained model"
# Names of the files' own and what they call, and words of C that Python has not.
_RESERVED = """
self np os math file len tuple checked sigmoid log_softmax rows product softmax maximum
minimum s i j k a n t
memory failed is_started auto case char const default do double enum extern float goto
inline erff int long register restrict short signed sizeof static struct switch typedef
union unsigned void volatile alignas alignof bool constexpr false nullptr thread_local
true typeof linux unix expf expm1f fabsf fmaxf fminf log1pf logf cosf powf sinf sqrtf
tanhf memcpy memset size_t int32_t INFINITY NAN NULL
"""
_UNARY = {
    "Tanh": "np.tanh({})",
    "Sigmoid": "sigmoid({})",
    "Relu": "np.maximum({}, np.float32(0))",
    "Neg": "-{}",
    "Abs": "np.abs({})",
    "Erf": "np.vectorize(math.erf, otypes=[np.float32])({})",
    "Exp": "np.exp({})",
    "Log": "np.log({})",
    "Sqrt": "np.sqrt({})",
    "Sin": "np.sin({})",
    "Cos": "np.cos({})",
    "Softplus": "np.logaddexp({}, np.float32(0))",
    "Identity": "{}",
}
_FOLDED = {"Max": "np.maximum({}, {})", "Min": "np.minimum({}, {})"}
_REDUCTIONS = ("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin")
_BINARY = {
    "Add": "{} + {}",
    "Sub": "{} - {}",
    "Mul": "{} * {}",
    "Div": "{} / {}",
    "Pow": "{} ** {}",
    "MatMul": "{} @ {}",
    "Equal": "{} == {}",
    "Where": "np.where({}, {}, {})",
}


def numpy_module(
    model: Link,
    file: str | PathLike,
    *example: Any,
    axes: Sequence[Any] | None = None,
    call: Callable | None = None,
) -> None:
    """Write a model as a Python file that needs NumPy alone, and an ``.npz``.

    Parameters
    ----------
    model : Link
    file : str or path
        Ends in ``.py``; the weights are written beside it, as ``.npz``. One of that
        name which is no predictor's is an error, and is not replaced.
    *example : array
        Arguments of one step, (B, ...); without it, what the model's first layer takes.
    axes, call
        As in :func:`dyrnn.interchange.to_onnx`, and so are the errors.

    Examples
    --------
    ::

        numpy_module(model, "predictor.py", np.zeros(1, np.int32))

        from predictor import Model  # elsewhere, without dyrnn

        y = Model().step(np.array([3]))
    """
    write_numpy(file, *step_graphs(model, example, axes, call))


def step_graphs(
    model: Link, example: tuple, axes: Sequence[Any] | None, call: Callable | None
) -> list[Graph]:
    """Return the graph of a step, and of the first if that is another one."""
    example = example or (_example(model),)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        graph = trace(model, *example, axes=axes, call=call)
    if not any(issubclass(w.category, FirstStepWarning) for w in caught):
        return [graph]
    return [graph, trace(model, *example, axes=axes, call=call, carry=False)]


def _example(model):
    """Return a step that the first layer of a model takes."""
    for layer in describe(model):
        W = layer.arrays.get("W")
        if layer.kind == "embedding":
            return np.arange(len(W), dtype=np.int32)
        if W is not None:
            return np.zeros((1, W.shape[1]), W.dtype)
    raise TypeError(f"{type(model).__name__}: give an example of a step, (B, ...)")


def check_steps(graph: Graph, what: str) -> None:
    """Raise if a graph is of windows."""
    if any(node.op in KINDS for node in graph.nodes):
        raise InterchangeError(
            f"{what} runs step by step: give an example of one step, (B, ...), not of "
            "a window or of sequences"
        )


def trial(graph: Graph) -> dict[str, np.ndarray]:
    """Return all values of a step from zeros: their shapes and types."""
    zeros = {
        v.name: np.zeros([n if isinstance(n, int) else 1 for n in v.shape], v.dtype)
        for v in graph.inputs
    }
    try:
        with np.errstate(all="ignore"):
            values = OnnxModel(graph)._run(zeros)
    except (ValueError, TypeError, IndexError) as error:
        raise InterchangeError(
            f"the model does not run for one sequence: {error}"
        ) from error
    return {k: np.asarray(as_array(v)) for k, v in values.items() if k}


def identifiers(graph: Graph, file: str = "") -> dict[str, str]:
    """Return for each name of a graph a name that programs can have.

    Those of a C file ``file`` are not the file's own, which begin with its name.
    """
    names: dict[str, str] = {"": "None"}
    used = {*_RESERVED.split(), *keyword.kwlist}
    own = re.compile(rf"{file}_(w\d+|state|reset|step|run|first|next)")
    values = [v.name for v in graph.inputs]
    for name in [*values, *graph.arrays, *[o for n in graph.nodes for o in n.outputs]]:
        stem = re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_") or "v"
        stem = f"v_{stem}" if stem[0].isdigit() else stem
        if own.fullmatch(stem) or (len(stem) > 1 and stem.isupper()):
            stem += "_"  # capitals may be macros
        while stem in used or stem.endswith(("_value", "_copy")):  # C has such ones
            stem += "_"
        used.add(stem)
        names[name] = stem
    return names


def write_numpy(file: str | PathLike, graph: Graph, first: Graph | None = None) -> None:
    """Write a graph of one step as Python and its arrays, see :func:`numpy_module`."""
    stem, suffix = path.splitext(file)
    if suffix != ".py":
        raise ValueError(f"{file}: the name of a Python file ends in .py")
    check_steps(graph, "a predictor")
    states = {v.name for v in graph.outputs if v.name.endswith(NEXT)}
    inputs = [v for v in graph.inputs if v.name + NEXT not in states]
    names = [identifiers(graph)[v.name] for v in inputs]
    shapes = ", ".join(
        re.sub(r"[^\w(), ]", "", f"{n} {v.dtype} {v.shape}")
        for n, v in zip(names, inputs, strict=True)
    )
    text = _HEAD.format(
        npz=path.basename(stem) + ".npz",
        arguments=", ".join(names),
        plural=", ".join(f"{n}s" for n in names),
        shapes=shapes,
        imports="import math\nimport os" if _has_erf(graph) else "import os",
    )
    arguments = ", ".join(["self", *names])
    weights: dict = {}
    if first is None:
        text += f"\n    def step({arguments}):\n" + _body(graph, weights)
    else:
        rest = ", ".join(names)
        text += (
            f"\n    def step({arguments}):\n"
            f"        return (self._next if self.state else self._first)({rest})\n"
            f"\n    def _first({arguments}):\n{_body(first, weights)}"
            f"\n    def _next({arguments}):\n{_body(graph, weights)}"
        )
    check_beside(f"{stem}.npz", is_predictor(file))
    with atomic_output(file) as code, atomic_output(f"{stem}.npz") as arrays:
        code.write(text.encode())
        code.flush()
        np.savez(arrays, **dict(weights.values()))


def is_predictor(file: str | PathLike) -> bool:
    """Return whether a file is there that predictors begin like."""
    try:
        with open_file(file)[0] as stream:
            return stream.read(len(_BEGINS[0])) in _BEGINS
    except (OSError, InterchangeError):
        return False


def check_beside(file: str, is_own: bool) -> None:
    """Raise if a file that is written beside the one named is somebody's other."""
    if path.lexists(file) and not is_own:
        raise InterchangeError(
            f"{file} is there already, and not of a predictor. The predictor would "
            "replace it: give another name, or remove it first."
        )


def _has_erf(graph):
    return any(node.op == "Erf" for node in graph.nodes)


def _is_weight(array):
    return array.ndim > 0 and array.dtype.kind == "f"


def _body(graph, weights):
    """Return the lines of a step; note the arrays they use, each once, by content."""
    names, values = identifiers(graph), trial(graph)
    for name, array in graph.arrays.items():
        if _is_weight(array):
            taken = {k for k, _ in weights.values()}
            key = names[name] if names[name] not in taken else f"w{len(weights)}"
            key, _ = weights.setdefault((array.tobytes(), array.shape), (key, array))
            names[name] = f'self.w["{key}"]'
        elif array.dtype.kind == "f":
            value = float(array)
            names[name] = f"np.float32({value if np.isfinite(value) else str(value)!r})"
        else:
            names[name] = repr(array.tolist())
    lines = []
    outputs = {v.name for v in graph.outputs}
    states = [v for v in graph.inputs if v.name + NEXT in outputs]
    inputs = [v for v in graph.inputs if v not in states]
    for value in inputs:
        name = names[value.name]
        kinds = {"f": "fiub", "b": "b"}.get(value.dtype.kind, "iu")
        shape = tuple([n if isinstance(n, int) else None for n in value.shape])
        lines.append(f'{name} = checked({name}, "{name}", "{kinds}", {shape})')
    for value in states:
        shape = str(value.shape).replace("'batch'", f"len({names[inputs[0].name]})")
        lines.append(f"{names[value.name]} = self.carried({value.name!r}, {shape})")
    for node in graph.nodes:
        line = _expression(node, [names[n] for n in node.inputs], graph.arrays, values)
        lines.append(f"{names[node.outputs[0]]} = {line}")
    after = [v.name for v in graph.outputs if v.name.endswith(NEXT)]
    entries = ", ".join(f"{n.removesuffix(NEXT)!r}: {names[n]}" for n in after)
    lines.append(f"self.state = {{{entries}}}")
    results = [names[v.name] for v in graph.outputs if v.name not in after]
    lines.append(f"return {', '.join(results)}")
    return "".join(f"        {line}\n" for line in lines)


def slope(node: Node) -> float:
    """Return the slope of a LeakyRelu or Elu."""
    return float(node.attributes.get("alpha", 1.0 if node.op == "Elu" else 0.01))


def given_axes(node: Node, values: dict) -> list[int] | None:
    """Return the axes of an operation, from 0 on; None: it names none."""
    given = node.attributes.get("axes")
    if given is None and len(node.inputs) > 1:
        given = values[node.inputs[1]].tolist()
    ndim = max(values[node.inputs[0]].ndim, values[node.outputs[0]].ndim)
    return None if given is None else [int(i) % ndim for i in given]


def softmax_axis(node: Node, values: dict) -> int:
    """Return the axis of a softmax; one over several axes is refused."""
    ndim = values[node.inputs[0]].ndim
    axis = int(node.attributes.get("axis", -1 if node.opset >= 13 else 1)) % ndim
    if node.opset < 13 and axis != ndim - 1:
        raise InterchangeError("a softmax of several axes has no code here")
    return axis


def reduced_axes(node: Node, values: dict) -> list[int]:
    """Return the axes that a reduction goes over."""
    if not node.attributes.get("noop_with_empty_axes"):
        every = list(range(values[node.inputs[0]].ndim))
        return given_axes(node, values) or every
    return given_axes(node, values) or []


def check_integers(node: Node, values: dict) -> None:
    """Raise for operations whose rule for integers is another than for floats."""
    kind = values[node.outputs[0]].dtype.kind
    if node.op in ("Abs", "Div", "Pow", "Relu") and kind in "iu":
        raise InterchangeError(f"{node.op} of integers has no code here")


def _of_array(text):
    return f"np.array({text})" if text.startswith("[") else text


def _expression(node, xs, arrays, values):
    get = node.attributes.get
    axis, alpha = int(get("axis", -1)), slope(node)  # numbers, not code
    check_integers(node, values)
    if node.op in _UNARY:
        return _UNARY[node.op].format(*xs)
    if node.op in _BINARY:
        return _BINARY[node.op].format(*map(_of_array, xs))
    if node.op in _FOLDED:
        y, *rest = xs
        for x in rest:
            y = _FOLDED[node.op].format(y, x)
        return y
    if node.op == "Shape":
        end = int(get("end", values[node.inputs[0]].ndim))
        return f"np.array({xs[0]}.shape)[{int(get('start', 0))}:{end}]"
    if node.op == "Reshape":
        sizes = arrays.get(node.inputs[1])
        if sizes is not None and not get("allowzero"):
            parts = [f"{xs[0]}.shape[{i}]" for i in range(len(sizes))]
            sizes = [int(n) or part for n, part in zip(sizes, parts, strict=True)]
            xs[1] = f"[{', '.join(map(str, sizes))}]"
        return f"{xs[0]}.reshape({xs[1]})"
    if node.op == "Expand":
        shape = f"tuple({xs[1]})"
        return f"np.broadcast_to({xs[0]}, np.broadcast_shapes({xs[0]}.shape, {shape}))"
    if node.op == "Gather":
        axis = int(get("axis", 0)) % values[node.inputs[0]].ndim
        if node.inputs[0] in arrays and node.inputs[1] not in arrays and axis == 0:
            return f"rows({xs[0]}, {xs[1]})"
        return f"{xs[0]}[{', '.join([':'] * axis + [xs[1]])}]"
    if node.op in ("Softmax", "LogSoftmax"):
        axis = softmax_axis(node, values)
        y = f"log_softmax({xs[0]}, {axis})"
        return y if node.op == "LogSoftmax" else f"np.exp({y})"
    if node.op == "LeakyRelu":
        return f"np.where({xs[0]} >= 0, {xs[0]}, {xs[0]} * np.float32({alpha}))"
    if node.op == "Elu":
        low = f"np.expm1(np.minimum({xs[0]}, 0)) * np.float32({alpha})"
        return f"np.where({xs[0]} >= 0, {xs[0]}, {low})"
    if node.op == "Slice":
        return f"{xs[0]}[{_slices(node, values, arrays)}]"
    if node.op == "Concat":
        return f"np.concatenate([{', '.join(xs)}], {axis})"
    if node.op == "Transpose":
        perm = get("perm") or range(values[node.inputs[0]].ndim)[::-1]
        return f"{xs[0]}.transpose({[int(i) for i in perm]})"
    if node.op == "Cast":
        return f"{xs[0]}.astype(np.{dtype_of(get('to')).name})"
    if node.op == "Squeeze":
        axes = given_axes(node, values)
        return f"np.squeeze({xs[0]}{'' if axes is None else f', {tuple(axes)}'})"
    if node.op == "Unsqueeze":
        return f"np.expand_dims({xs[0]}, {tuple(given_axes(node, values))})"
    if node.op in _REDUCTIONS:
        axes = reduced_axes(node, values)
        keep = bool(get("keepdims", 1))
        name = node.op[6:].lower()
        return f"{xs[0]}.{name}(axis={tuple(axes)}, keepdims={keep})"
    raise InterchangeError(f"the operation {node.op} has no NumPy code here")


def bounds(node: Node, values: dict, fixed: Container) -> list[tuple]:
    """Return axis, start, end and step of each part of a Slice, which are constant."""
    if not {n for n in node.inputs[1:] if n} <= set(fixed) or "starts" in (
        node.attributes
    ):
        raise InterchangeError("a slice whose bounds change has no code here")
    given: list[Any] = [
        values[n].tolist() if n else None for n in (*node.inputs, "", "")[1:5]
    ]
    starts, ends, axes, steps = given
    ndim = values[node.inputs[0]].ndim
    axes = range(len(starts)) if axes is None else [i % ndim for i in axes]
    steps = [1] * len(starts) if steps is None else steps
    return list(zip(axes, starts, ends, steps, strict=True))


def _slices(node, values, fixed):
    parts = [":"] * values[node.inputs[0]].ndim
    for axis, start, end, step in bounds(node, values, fixed):
        first = "" if start in (0, 2**63 - 1) else start
        last = "" if abs(end) >= 2**63 - 1 else end
        parts[axis] = f"{first}:{last}" + (f":{step}" if step != 1 else "")
    while len(parts) > 1 and parts[-1] == ":":
        parts.pop()
    return ", ".join(parts)
