"""A model as C99 source that predicts one step at a call: no libraries, no allocation.

Of a file ``NAME.c`` with ``NAME.h``::

    NAME_state state;            // all memory it needs, about as large as its vectors
    NAME_reset(&state);
    NAME_step(&state, x, y);     // 0, or -1 for an id that is none
    NAME_run(&state, n, x, y);   // n steps: x and y one after the other

Numbers are single precision; the weights are constants, which a linker places in flash.
"""

import math
import re
from collections.abc import Callable, Sequence
from os import PathLike, path
from typing import Any

import numpy as np

from dyrnn.errors import InterchangeError
from dyrnn.interchange.graphs import Graph
from dyrnn.interchange.numpy_predictor import (
    bounds,
    check_beside,
    check_integers,
    check_steps,
    identifiers,
    is_predictor,
    reduced_axes,
    slope,
    softmax_axis,
    step_graphs,
    trial,
)
from dyrnn.interchange.onnx_models import NEXT
from dyrnn.link import Link
from dyrnn.serializers.atomic import atomic_output

_BEGINS = "/* A trained model"
_HELPERS = {
    "sigmoid(": """static float sigmoid(float x) {
    float e = expf(-fabsf(x));
    return (x >= 0 ? 1.0f : e) / (e + 1.0f);
}
""",
    "product(": """/* y = W x for W (rows, n): eight sums at a time round less. */
static void product(const float *restrict W, const float *restrict x,
                    float *restrict y, int rows, int n) {
    for (int r = 0; r < rows; r++, W += n) {
        float s[8] = {0};
        int i = 0;
        for (; i + 8 <= n; i += 8)
            for (int k = 0; k < 8; k++) s[k] += W[i + k] * x[i + k];
        for (; i < n; i++) s[0] += W[i] * x[i];
        y[r] = ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]));
    }
}
""",
    "maximum(": """static float maximum(float a, float b) {  /* fmaxf loses a NaN */
    return a >= b || a != a ? a : b;
}
""",
    "minimum(": """static float minimum(float a, float b) {
    return a <= b || a != a ? a : b;
}
""",
    "softmax(": """static void softmax(const float *x, float *y, int n, int is_log) {
    float top = x[0], total = 0;
    for (int i = 1; i < n; i++) top = fmaxf(top, x[i]);
    for (int i = 0; i < n; i++) total += expf(x[i] - top);
    for (int i = 0; i < n; i++)
        y[i] = is_log ? x[i] - top - logf(total) : expf(x[i] - top) / total;
}
""",
}
_ELEMENTWISE = {
    "Tanh": "tanhf({})",
    "Sigmoid": "sigmoid({})",
    "Relu": "maximum({}, 0.0f)",
    "Neg": "-{}",
    "Abs": "fabsf({})",
    "Erf": "erff({})",
    "Exp": "expf({})",
    "Log": "logf({})",
    "Sqrt": "sqrtf({})",
    "Sin": "sinf({})",
    "Cos": "cosf({})",
    "Softplus": "fmaxf({0}, 0.0f) + log1pf(expf(-fabsf({0})))",
    "Add": "{} + {}",
    "Sub": "{} - {}",
    "Mul": "{} * {}",
    "Div": "{} / {}",
    "Pow": "powf({}, {})",
    "Max": "maximum({}, {})",
    "Min": "minimum({}, {})",
    "Equal": "{} == {}",
    "Where": "{} ? {} : {}",
    "LeakyRelu": "{0} >= 0 ? {0} : {0} * {alpha}",
    "Elu": "{0} >= 0 ? {0} : expm1f({0}) * {alpha}",
    "Expand": "{}",
    "Cast": "{}",
}
_VIEWS = ("Identity", "Reshape", "Squeeze", "Unsqueeze", "Transpose")
_REDUCTIONS = {
    "ReduceSum": ("0.0f", "a + b"),
    "ReduceMean": ("0.0f", "a + b"),
    "ReduceMax": ("-INFINITY", "maximum(a, b)"),
    "ReduceMin": ("INFINITY", "minimum(a, b)"),
}


def c_module(
    model: Link,
    file: str | PathLike,
    *example: Any,
    axes: Sequence[Any] | None = None,
    call: Callable | None = None,
) -> None:
    """Write a model as C99 source, a ``.c`` and a ``.h``, of one step of one sequence.

    Parameters are those of :func:`dyrnn.interchange.numpy_module`, but for the file,
    which ends in ``.c``; its name begins all names in it. A ``.h`` of that name which
    is no predictor's is an error, and is not replaced.
    """
    write_c(file, *step_graphs(model, example, axes, call))


def write_c(file: str | PathLike, graph: Graph, first: Graph | None = None) -> None:
    """Write a graph of one step as C, see :func:`c_module`."""
    stem, suffix = path.splitext(file)
    name = path.basename(stem)
    if suffix != ".c" or not re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII):
        raise ValueError(
            f"{file}: use the name of a C file that C can have, as model.c"
        )
    check_steps(graph, "a predictor")
    program = _Program(graph, name)
    bodies = [program.function("next" if first else "step")]
    weights = program.weights
    size = program.memory
    if first is not None:
        other = _Program(first, name, weights, program.fields)
        bodies.insert(0, other.function("first"))
        size = max(size, other.memory)
    header = program.header(size, first is not None)
    source = [
        f'{_BEGINS}, as {name}.h says. */\n#include "{name}.h"\n',
        "#include <math.h>\n#include <string.h>\n",
        *(_literal(array, c_name) for c_name, array in weights.values()),
        *[text for word, text in _HELPERS.items() if word in "".join(bodies)],
        *bodies,
        program.entry() if first is not None else "",
        program.run(),
        program.reset(first is not None),
    ]
    check_beside(f"{stem}.h", is_predictor(f"{stem}.h"))
    with atomic_output(file) as code, atomic_output(f"{stem}.h") as declarations:
        code.write("\n".join(source).encode())
        code.flush()
        declarations.write(header.encode())


def _number(value):
    text = str(np.float32(value))
    special = {"nan": "NAN", "inf": "INFINITY", "-inf": "-INFINITY"}
    return special.get(text, f"{text}f")


def _literal(array, name):
    numbers = [_number(v) for v in array.reshape(-1)]
    lines = [", ".join(numbers[i : i + 8]) for i in range(0, len(numbers), 8)]
    body = ",\n    ".join(lines)
    return f"static const float {name}[{array.size}] = {{\n    {body}}};\n"


def _type(dtype):
    return "float" if np.dtype(dtype).kind == "f" else "int32_t"


class _Program:
    """The code of a graph for a batch of one, whose sizes are all known."""

    def __init__(self, graph, name, weights=None, fields=None):
        self.graph, self.name = graph, name
        self.names = identifiers(graph, name)
        # Within a function; of results, since those name where they are copied to.
        self.local = {v.name: f"{self.names[v.name]}_value" for v in graph.outputs}
        self.weights: dict = {} if weights is None else weights
        outputs = {v.name for v in graph.outputs}
        self.states = [v for v in graph.inputs if v.name + NEXT in outputs]
        self.inputs = [v for v in graph.inputs if v not in self.states]
        self.after = [v for v in graph.outputs if v.name.endswith(NEXT)]
        self.results = [v for v in graph.outputs if v not in self.after]
        self.values = trial(graph)
        self.static = set(graph.arrays)
        # Of the states, in the structure.
        self.fields = fields or {v.name: self.names[v.name] for v in self.states}
        self.place: dict[str, str] = {}  # a C expression for each value's pointer
        self.lines: list[str] = []
        self.memory = 0
        self._free: list[tuple[int, int]] = []  # parts of the memory: start, size

    def size(self, name):
        return self.values[name].size

    # Memory: vectors live in one array, in parts that are used again

    def _plan(self):
        """Note for each node which vectors nobody reads after it."""
        self.owner: dict[str, str] = {}
        self.held: dict[str, tuple[int, int]] = {}
        last: dict[str, int] = {}
        for i, node in enumerate(self.graph.nodes):
            if self._is_view(node):
                source = node.inputs[0]
                self.owner[node.outputs[0]] = self.owner.get(source, source)
            for name in (*node.inputs, *node.outputs):
                last[self.owner.get(name, name)] = i
        for value in self.graph.outputs:
            last[self.owner.get(value.name, value.name)] = len(self.graph.nodes)
        self.ends: dict[int, list[str]] = {}
        for name, i in last.items():
            self.ends.setdefault(i, []).append(name)

    def _take(self, name, size):
        for start, room in sorted(self._free, key=lambda part: part[1]):
            if room >= size:
                self._free.remove((start, room))
                if room > size:
                    self._free.append((start + size, room - size))
                self.held[name] = start, size
                return start
        start, self.memory = self.memory, self.memory + size
        self.held[name] = start, size
        return start

    def _new(self, name):
        """Declare the vector of a value; return its C name."""
        c_name = self.local.get(name, self.names[name])
        kind = _type(self.values[name].dtype)
        if kind == "float":
            start = self._take(name, self.size(name))
            self.lines.append(f"float *{c_name} = s->memory + {start};")
        else:
            self.lines.append(f"int32_t {c_name}[{self.size(name)}];")
        self.place[name] = c_name
        return c_name

    # Code

    def _is_view(self, node):
        if node.op == "Slice":
            return self._slice(node)[0] == 1
        if node.op == "Transpose":
            shape = self.values[node.inputs[0]].shape
            perm = node.attributes.get("perm") or range(len(shape))[::-1]
            moved = [i for i in perm if shape[i] != 1]
            return moved == sorted(moved)
        if node.op == "Gather":
            axis = node.attributes.get("axis", 0) % self.values[node.inputs[0]].ndim
            return self.size(node.inputs[1]) == 1 and not axis
        return node.op in _VIEWS

    def _slice(self, node):
        """Return rows, row length, start and end of a slice along one axis."""
        x = self.values[node.inputs[0]]
        ((axis, start, end, step), *more) = bounds(node, self.values, self.static)
        if more or step != 1:
            raise InterchangeError("a slice along several axes, or in steps, has no C")
        start, end, _ = slice(start, end).indices(x.shape[axis])
        inner = math.prod(x.shape[axis + 1 :])
        width = x.shape[axis] * inner
        return math.prod(x.shape[:axis]), width, start * inner, end * inner

    def pointer(self, name):
        """Return a C expression for a value's elements."""
        if name in self.place:
            return self.place[name]
        array = self.values[name]
        if array.dtype.kind != "f":
            raise InterchangeError("integers in a vector have no C here")
        key = array.tobytes(), array.shape
        if key not in self.weights:
            c_name = f"{self.name}_w{len(self.weights)}"
            self.weights[key] = c_name, array
        return self.weights[key][0]

    def element(self, name, shape):
        """Return a C expression for the element that goes with ``i`` of a result."""
        array = self.values[name]
        if name in self.static and array.size == 1:
            value = array.reshape(-1)[0]
            return _number(value) if array.dtype.kind == "f" else str(int(value))
        pointer, n = self.pointer(name), math.prod(shape)
        if array.size == n:
            return f"{pointer}[i]"
        if array.size == 1:
            return f"{pointer}[0]"
        if shape[len(shape) - array.ndim :] == array.shape:
            return f"{pointer}[i % {array.size}]"
        raise InterchangeError(f"shapes {array.shape} and {shape} together have no C")

    def function(self, name):
        """Return the C function of a step."""
        for value in self.graph.inputs:
            at = "s->" if value in self.states else ""
            self.place[value.name] = at + self.names[value.name]
        self._find_static()
        self._plan()
        for i, node in enumerate(self.graph.nodes):
            if node.outputs[0] not in self.static:
                self._add(node)
            for dead in self.ends.get(i, ()):
                if dead in self.held:
                    self._free.append(self.held.pop(dead))
        copies = {v.name: self.names[v.name] for v in self.results}
        copies |= {
            v.name: f"s->{self.fields[v.name.removesuffix(NEXT)]}" for v in self.after
        }
        for value in self.after:  # an old state that another one becomes
            source = self.pointer(value.name)
            if self.owner.get(value.name) in {v.name for v in self.states}:
                self.local[value.name] += "_copy"
                copy = self._new(value.name)
                self._copy(copy, source, self.size(value.name))
        for result, to in copies.items():
            self._copy(to, self.pointer(result), self.size(result))
        body = "".join(f"    {line}\n" for line in self.lines)
        static = "" if name == "step" else "static "
        taken = ["s", *[self.names[v.name] for v in self.inputs]]
        unused = [n for n in taken if not re.search(rf"\b{n}\b", body)]
        body = "".join(f"    (void){n};\n" for n in unused) + body
        head = f"{static}int {self.name}_{name}({self.arguments()})"
        return f"{head} {{\n{body}    return 0;\n}}\n"

    def _copy(self, to, source, size):
        self.lines.append(f"memcpy({to}, {source}, {size} * sizeof(*{to}));")

    def _find_static(self):
        """Sizes are known, and what is computed from them and constants alone."""
        for node in self.graph.nodes:
            if node.op == "Shape" or all(n in self.static for n in node.inputs):
                self.static.update(node.outputs)

    def _add(self, node):
        name = node.outputs[0]
        y, shape = self.local.get(name, self.names[name]), self.values[name].shape
        n = math.prod(shape)
        add = self.lines.append
        check_integers(node, self.values)
        if self._is_view(node):
            self._add_view(node, name, y)
        elif node.op in _ELEMENTWISE:
            alpha = _number(slope(node))
            inputs = node.inputs[:1] if node.op == "Expand" else node.inputs
            xs = [self.element(x, shape) for x in inputs]
            text = self._elementwise(node, xs, alpha)
            self._new(name)
            add(f"for (int i = 0; i < {n}; i++) {y}[i] = {text};")
        elif node.op == "MatMul":
            x, W = (self.values[k] for k in node.inputs)
            if node.inputs[1] not in self.static or x.size != W.shape[0] or W.ndim != 2:
                raise InterchangeError(
                    "a product that is not with weights has no C here"
                )
            key = f"{node.inputs[1]}, by rows"
            self.values[key] = np.ascontiguousarray(W.T)
            weights, source = self.pointer(key), self.pointer(node.inputs[0])
            self._new(name)
            add(f"product({weights}, {source}, {y}, {W.shape[1]}, {W.shape[0]});")
        elif node.op in ("Softmax", "LogSoftmax"):
            if softmax_axis(node, self.values) != len(shape) - 1:
                raise InterchangeError(
                    "a softmax of another axis than the last has no C"
                )
            source, width = self.pointer(node.inputs[0]), shape[-1]
            self._new(name)
            is_log = int(node.op == "LogSoftmax")
            add(f"for (int i = 0; i < {n}; i += {width})")
            add(f"    softmax({source} + i, {y} + i, {width}, {is_log});")
        elif node.op == "Concat":
            self._add_concat(node, name, y, shape)
        elif node.op == "Slice":
            rows, width, start, end = self._slice(node)
            source = self.pointer(node.inputs[0])
            self._new(name)
            add(f"for (int i = 0; i < {rows}; i++)")
            add(
                f"    memcpy({y} + i * {end - start}, {source} + i * {width} + {start},"
            )
            add(f"           {end - start} * sizeof(float));")
        elif node.op in _REDUCTIONS:
            self._add_reduction(node, name, y)
        else:
            raise InterchangeError(f"the operation {node.op} has no C code here")

    def _elementwise(self, node, xs, alpha):
        """Return the expression of an element."""
        kinds = [self.values[n].dtype.kind for n in (node.inputs[0], node.outputs[0])]
        if node.op == "Cast":
            if kinds[1] == "b":
                return f"{xs[0]} != 0"
            return f"({_type(kinds[1])}){xs[0]}"
        if node.op not in ("Max", "Min"):
            return _ELEMENTWISE[node.op].format(*xs, alpha=alpha)
        if kinds[1] != "f":
            raise InterchangeError(f"{node.op} of integers has no C code here")
        text, *rest = xs
        for x in rest:
            text = _ELEMENTWISE[node.op].format(text, x)
        return text

    def _add_view(self, node, name, y):
        source = self.pointer(node.inputs[0])
        kind = _type(self.values[name].dtype)
        offset = ""
        if node.op == "Slice":
            offset = f" + {self._slice(node)[2]}"
        elif node.op == "Gather":
            rows = len(self.values[node.inputs[0]])
            if node.inputs[1] in self.static:
                place = str(int(self.values[node.inputs[1]].reshape(-1)[0]) % rows)
            else:
                place = f"{self.pointer(node.inputs[1])}[0]"
                self.lines.append(f"if ({place} < 0 || {place} >= {rows}) return -1;")
            offset = f" + (size_t){place} * {self.size(name)}"
        self.lines.append(f"const {kind} *{y} = {source}{offset};")
        self.place[name] = y

    def _add_concat(self, node, name, y, shape):
        axis = node.attributes["axis"] % len(shape)
        rows = math.prod(shape[:axis])
        width = math.prod(shape[axis:])
        sources = [(self.pointer(x), self.size(x) // rows) for x in node.inputs]
        self._new(name)
        self.lines.append(f"for (int i = 0; i < {rows}; i++) {{")
        start = 0
        for source, size in sources:
            self.lines.append(
                f"    memcpy({y} + i * {width} + {start}, {source} + i * {size}, "
                f"{size} * sizeof(float));"
            )
            start += size
        self.lines.append("}")

    def _add_reduction(self, node, name, y):
        x = self.values[node.inputs[0]]
        axes = sorted(a for a in reduced_axes(node, self.values) if x.shape[a] != 1)
        if axes and axes != list(range(axes[0], axes[-1] + 1)):
            raise InterchangeError("a reduction of axes apart has no C here")
        low, high = (axes[0], axes[-1] + 1) if axes else (0, 0)
        outer, inner = math.prod(x.shape[:low]), math.prod(x.shape[high:])
        n = math.prod(x.shape[low:high])
        source = self.pointer(node.inputs[0])
        start, rule = _REDUCTIONS[node.op]
        rule = rule.replace("b", f"{source}[(i * {n} + k) * {inner} + j]")
        scale = f" / {n}.0f" if node.op == "ReduceMean" else ""
        self._new(name)
        self.lines += [
            f"for (int i = 0; i < {outer}; i++)",
            f"    for (int j = 0; j < {inner}; j++) {{",
            f"        float a = {start};",
            f"        for (int k = 0; k < {n}; k++) a = {rule};",
            f"        {y}[i * {inner} + j] = a{scale};",
            "    }",
        ]

    # The interface

    def arguments(self, *more):
        parts = [f"{self.name}_state *s", *more]
        for constness, values in (("const ", self.inputs), ("", self.results)):
            for value in values:
                kind = _type(value.dtype)
                parts.append(f"{constness}{kind} *{self.names[value.name]}")
        return ", ".join(parts)

    def header(self, size, has_first):
        fields = [
            f"float {self.fields[v.name]}[{self.size(v.name)}];" for v in self.states
        ]
        fields += ["int is_started;"] * has_first
        fields.append(f"float memory[{max(size, 1)}];")
        body = "".join(f"    {field}\n" for field in fields)
        values = self.inputs + self.results
        sizes = [f"{self.names[v.name]}[{self.size(v.name)}]" for v in values]
        guard = f"{self.name.upper()}_H"
        return (
            f"{_BEGINS}, one step at a call: {', '.join(sizes)}. */\n"
            f"#ifndef {guard}\n#define {guard}\n\n#include <stdint.h>\n\n"
            f"typedef struct {{\n{body}}} {self.name}_state;\n\n"
            "/* Forget the state, before a sequence that does not go on. */\n"
            f"void {self.name}_reset({self.name}_state *s);\n\n"
            "/* Compute a step's outputs; return 0, or -1 for an id out of range. */\n"
            f"int {self.name}_step({self.arguments()});\n\n"
            "/* Compute n steps, their inputs and outputs one after the other. */\n"
            f"int {self.name}_run({self.arguments('int n')});\n\n#endif\n"
        )

    def run(self):
        """Return the C function of a sequence."""
        moved = [
            f"{self.names[v.name]} + t * {self.size(v.name)}"
            for v in self.inputs + self.results
        ]
        return (
            f"int {self.name}_run({self.arguments('int n')}) {{\n"
            "    for (int t = 0; t < n; t++)\n"
            f"        if ({self.name}_step({', '.join(['s', *moved])})) return -1;\n"
            "    return 0;\n}\n"
        )

    def entry(self):
        values = self.inputs + self.results
        call = ", ".join(["s", *[self.names[v.name] for v in values]])
        return (
            f"int {self.name}_step({self.arguments()}) {{\n"
            f"    int failed = s->is_started ? {self.name}_next({call})\n"
            f"                               : {self.name}_first({call});\n"
            "    if (!failed) s->is_started = 1;\n    return failed;\n}\n"
        )

    def reset(self, has_first):
        lines = [
            f"    memset(s->{field}, 0, sizeof(s->{field}));\n"
            for field in self.fields.values()
        ]
        lines += ["    s->is_started = 0;\n"] * has_first
        lines = lines or ["    (void)s;\n"]
        return f"void {self.name}_reset({self.name}_state *s) {{\n{''.join(lines)}}}\n"
