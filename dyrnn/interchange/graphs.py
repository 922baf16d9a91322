"""A computation as a list of operations of ONNX, and the files that hold one.

A file is read and written here, without the package ``onnx``: it is nested messages of
numbered fields (https://protobuf.dev/programming-guides/encoding), of which
``_MESSAGES`` lists those of ``onnx.proto`` that count. Nothing of a file is executed,
nothing outside it is opened, and what is read takes memory in proportion to its size.
"""

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from os import PathLike, fspath
from typing import Any

import numpy as np

from dyrnn.errors import InterchangeError
from dyrnn.interchange.files import open_file
from dyrnn.serializers.atomic import atomic_output
from dyrnn.typing import Array

OPSET, IR_VERSION = 17, 8  # of ONNX 1.12, from 2022
_LARGEST = 2**31  # bytes of a message, as protobuf has it


@dataclass
class Node:
    """One operation of a version; an input that is left out has the name ``""``."""

    op: str
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, Any] = field(default_factory=dict)
    opset: int = OPSET


@dataclass
class Value:
    """An input or output: sizes are numbers, or names of those that may change."""

    name: str
    dtype: np.dtype
    shape: tuple[int | str, ...]


@dataclass
class Graph:
    """Operations in the order in which they run, and the arrays they use.

    Attributes
    ----------
    nodes : list of Node
    inputs, outputs : list of Value
    arrays : dict of str and ndarray
        Weights and other constants.
    notes : dict of str and str
        What else the file says, such as who made it.
    opset : int
        The version of the operations.
    """

    nodes: list[Node]
    inputs: list[Value]
    outputs: list[Value]
    arrays: dict[str, Array]
    notes: dict[str, str] = field(default_factory=dict)
    opset: int = OPSET


# -- Messages of onnx.proto: number, name, kind of each field; [] for a repeated one ---

_MESSAGES = {
    "Model": "1 ir_version int, 2 producer_name str, 7 graph Graph, 8 opsets [Opset], "
    "14 metadata [Entry]",
    "Opset": "1 domain str, 2 version int",
    "Entry": "1 key str, 2 value str",
    "Graph": "1 nodes [Node], 2 name str, 5 arrays [Tensor], 11 inputs [Info], "
    "12 outputs [Info], 15 sparse [bytes]",
    "Node": "1 inputs [str], 2 outputs [str], 3 name str, 4 op str, "
    "5 attributes [Attribute], 7 domain str",
    "Attribute": "1 name str, 2 f float, 3 i int, 4 s bytes, 5 t Tensor, "
    "7 floats [float], 8 ints [int], 9 strings [bytes], 20 type int",
    "Tensor": "1 dims [int], 2 dtype int, 4 floats [float], 5 int32s [int], "
    "7 int64s [int], 8 name str, 9 raw bytes, 10 doubles [double], 14 location int",
    "Info": "1 name str, 2 type Type",
    "Type": "1 tensor TensorType",
    "TensorType": "1 dtype int, 2 shape Shape",
    "Shape": "1 dims [Dim]",
    "Dim": "1 size int, 2 name str",
}


def _fields(text):
    for entry in text.split(", "):
        number, name, kind = entry.split()
        yield int(number), name, kind.strip("[]"), kind.startswith("[")


_BY_NUMBER = {
    message: {number: entry for number, *entry in _fields(text)}
    for message, text in _MESSAGES.items()
}
_BY_NAME = {
    message: {name: (number, kind) for number, name, kind, _ in _fields(text)}
    for message, text in _MESSAGES.items()
}
_FIXED = {5: ("<f", "float"), 1: ("<d", "double")}  # by wire type
_ATTRIBUTE_TYPES = {
    1: "f",
    2: "i",
    3: "s",
    4: "t",
    6: "floats",
    7: "ints",
    8: "strings",
}
_DTYPE_NAMES = {
    1: "f4", 2: "u1", 3: "i1", 4: "u2", 5: "i2", 6: "i4", 7: "i8", 9: "?", 10: "f2",
    11: "f8", 12: "u4", 13: "u8",
}  # fmt: skip
_DTYPES = {code: np.dtype(name) for code, name in _DTYPE_NAMES.items()}
_CODES = {dtype: code for code, dtype in _DTYPES.items()}


def dtype_code(dtype: Any) -> int:
    """Return ONNX's number of a type of elements."""
    return _CODES[np.dtype(dtype)]


def dtype_of(code: int) -> np.dtype:
    """Return the type of elements that ONNX gives a number."""
    if code not in _DTYPES:
        raise InterchangeError(f"the file has elements of ONNX's type {code}")
    return _DTYPES[code]


# -- Reading -------------------------------------------------------------------------


def read_graph(file: str | PathLike) -> Graph:
    """Read an ONNX file.

    Raises
    ------
    InterchangeError
        If it is damaged, is no ONNX model, or keeps its weights in other files.
    """
    stream, _ = open_file(file)
    with stream:
        try:
            return decode(stream.read(_LARGEST))
        except InterchangeError as error:
            raise InterchangeError(f"{fspath(file)}: {error}") from error.__cause__


def decode(data: bytes) -> Graph:
    """Return the graph of an ONNX file's bytes, see :func:`read_graph`."""
    try:
        return _graph(_message("Model", memoryview(data)))
    except (struct.error, UnicodeDecodeError, IndexError, ValueError) as error:
        raise InterchangeError(f"this is no ONNX file, or damaged: {error}") from None


def _varint(data, position):
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            value &= 2**64 - 1
            return value - 2**64 if value >= 2**63 else value, position
        shift += 7
        if shift >= 70:
            raise ValueError("a number has too many bytes")


def _entries(data: memoryview) -> Iterator[tuple[int, int, Any]]:
    """Yield number, wire type and value of each field of a message."""
    position, end = 0, len(data)
    while position < end:
        tag, position = _varint(data, position)
        wire = tag & 7
        if wire == 0:
            value, position = _varint(data, position)
        elif wire in _FIXED:
            (value,) = struct.unpack_from(_FIXED[wire][0], data, position)
            position += 8 if wire == 1 else 4
        elif wire == 2:
            size, position = _varint(data, position)
            if not 0 <= size <= end - position:
                raise ValueError("a part is longer than the file")
            value = data[position : position + size]
            position += size
        else:
            raise ValueError(f"a field of kind {wire}")
        yield tag >> 3, wire, value


def _message(kind, data):
    known = _BY_NUMBER[kind]
    found: dict[str, Any] = {
        name: [] for name, _, is_repeated in known.values() if is_repeated
    }
    for number, wire, value in _entries(data):
        if number not in known:
            continue
        name, kind_of, is_repeated = known[number]
        parsed = _parsed(kind_of, wire, value, is_repeated)
        if is_repeated:
            found[name] += parsed
        else:
            found[name] = parsed[0]
    return found


def _parsed(kind, wire, value, is_repeated):
    """Return the values of a field; numbers may be packed."""
    if kind in ("float", "double"):
        if wire == 2 and is_repeated:
            return np.frombuffer(value, "<f4" if kind == "float" else "<f8").tolist()
        is_right = wire in _FIXED and _FIXED[wire][1] == kind
    elif kind == "int":
        if wire == 2 and is_repeated:
            numbers, position = [], 0
            while position < len(value):
                number, position = _varint(value, position)
                numbers.append(number)
            return numbers
        is_right = wire == 0
    else:
        is_right = wire == 2
        if is_right and kind != "bytes":
            value = str(value, "utf-8") if kind == "str" else _message(kind, value)
    if not is_right:
        raise ValueError("a field of another kind than ONNX gives it")
    return [value]


def _graph(model):
    if "graph" not in model:
        raise InterchangeError("this is no ONNX file: it has no graph")
    opsets = {o.get("domain", ""): o.get("version", 0) for o in model["opsets"]}
    graph = model["graph"]
    if graph["sparse"]:
        raise InterchangeError("the file has sparse arrays, which are not read")
    arrays = {a.get("name", ""): _array(a) for a in graph["arrays"]}
    opset = opsets.get("", opsets.get("ai.onnx", 0))
    return Graph(
        [_node(node, opset) for node in graph["nodes"]],
        [v for v in map(_value, graph["inputs"]) if v.name not in arrays],
        [_value(v) for v in graph["outputs"]],
        arrays,
        {e.get("key", ""): e.get("value", "") for e in model["metadata"]},
        opset,
    )


def _node(node, opset):
    op = node.get("op", "")
    if node.get("domain", "") not in ("", "ai.onnx"):
        raise InterchangeError(
            f"the file has an operation {node['domain']}.{op}, which is not of ONNX "
            "itself"
        )
    attributes = {}
    for entry in node["attributes"]:
        name = entry.get("name", "")
        kind = _ATTRIBUTE_TYPES.get(entry.get("type", 0))
        if kind is None:
            raise InterchangeError(
                f"the attribute {name!r} of {op} is a graph or of a kind that is not "
                "read"
            )
        value = entry.get(kind, {"f": 0.0, "i": 0, "s": b""}.get(kind))
        if kind == "t":
            value = _array(entry["t"]) if "t" in entry else None
        elif kind == "s":
            value = str(bytes(value), "utf-8")
        elif kind == "strings":
            value = [str(s, "utf-8") for s in value]
        elif kind == "floats":
            value = [float(v) for v in value]
        attributes[name] = value
    return Node(op, node["inputs"], node["outputs"], attributes, opset)


def _array(tensor):
    name = tensor.get("name", "")
    if tensor.get("location"):
        raise InterchangeError(
            f"the array {name!r} is in another file; save the model as one file, "
            "torch.onnx.export(..., external_data=False), or "
            "onnx.save(onnx.load(path), new_path)"
        )
    dtype = dtype_of(tensor.get("dtype", 0))
    shape = tuple(tensor["dims"])
    if any(n < 0 for n in shape) or len(shape) > 32:
        raise InterchangeError(f"the array {name!r} has the shape {shape}")
    if "raw" in tensor:
        data = np.frombuffer(tensor["raw"], dtype.newbyteorder("<"))
    else:
        data = tensor[{"f4": "floats", "i8": "int64s", "f8": "doubles"}.get(
            dtype.str[1:], "int32s"
        )]  # fmt: skip
        if dtype == np.float16:
            data = np.array(data, np.int64).astype(np.uint16).view(np.float16)
    data = np.asarray(data)
    if data.size != math.prod(shape):
        raise InterchangeError(
            f"the array {name!r} has {data.size} elements, but the shape {shape}"
        )
    if data.dtype.kind in "iu" and data.size and dtype.kind in "iu":
        limits = np.iinfo(dtype)
        if data.min() < limits.min or data.max() > limits.max:
            raise InterchangeError(f"the array {name!r} has numbers beyond {dtype}")
    return data.astype(dtype).reshape(shape)


def _value(info):
    tensor = info.get("type", {}).get("tensor", {})
    shape = tensor.get("shape", {"dims": []})["dims"]
    sizes = tuple([d["size"] if "size" in d else d.get("name", "") for d in shape])
    return Value(info.get("name", ""), dtype_of(tensor.get("dtype", 0)), sizes)


# -- Writing -------------------------------------------------------------------------


def write_graph(graph: Graph, file: str | PathLike) -> None:
    """Write an ONNX file, whole or not at all."""
    data = encode(graph)
    with atomic_output(file) as stream:
        stream.write(data)


def encode(graph: Graph) -> bytes:
    """Return the bytes of an ONNX file."""
    model = {
        "ir_version": IR_VERSION,
        "producer_name": "dyrnn",
        "graph": {
            "nodes": [
                {
                    "inputs": node.inputs,
                    "outputs": node.outputs,
                    "name": node.outputs[0],
                    "op": node.op,
                    "attributes": [_attribute(*a) for a in node.attributes.items()],
                }
                for node in graph.nodes
            ],
            "name": "dyrnn",
            "arrays": [_tensor(a, name) for name, a in graph.arrays.items()],
            "inputs": [_info(value) for value in graph.inputs],
            "outputs": [_info(value) for value in graph.outputs],
        },
        "opsets": [{"domain": "", "version": graph.opset}],
        "metadata": [{"key": k, "value": v} for k, v in graph.notes.items()],
    }
    data = _encoded("Model", model)
    if len(data) >= _LARGEST:
        raise InterchangeError(
            f"the model takes {len(data)} bytes, but an ONNX file is below 2 GiB"
        )
    return data


def _tensor(array, name=""):
    array = np.asarray(array)
    raw = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<")).tobytes()
    code = dtype_code(array.dtype.newbyteorder("="))
    return {"dims": list(array.shape), "dtype": code, "name": name, "raw": raw}


def _attribute(name, value):
    if isinstance(value, np.ndarray):
        kind, value = "t", _tensor(value)
    elif isinstance(value, (list, tuple)):
        is_text = isinstance(value[0], str)
        kind = "strings" if is_text else "ints"
        value = [v.encode() for v in value] if is_text else list(value)
    elif isinstance(value, str):
        kind, value = "s", value.encode()
    else:
        kind = "f" if isinstance(value, float) else "i"
    number = next(n for n, k in _ATTRIBUTE_TYPES.items() if k == kind)
    return {"name": name, kind: value, "type": number}


def _info(value):
    dims = [{"name" if isinstance(n, str) else "size": n} for n in value.shape]
    tensor = {"dtype": dtype_code(value.dtype), "shape": {"dims": dims}}
    return {"name": value.name, "type": {"tensor": tensor}}


def _number(value):
    value &= 2**64 - 1
    parts = bytearray()
    while value >= 0x80:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)


def _encoded(kind, message):
    parts = []
    for name, values in message.items():
        number, kind_of = _BY_NAME[kind][name]
        for value in values if isinstance(values, list) else [values]:
            if kind_of == "int":
                parts += [_number(number << 3), _number(value)]
            elif kind_of == "float":
                parts += [_number(number << 3 | 5), struct.pack("<f", value)]
            else:
                if kind_of == "str":
                    value = value.encode()
                elif kind_of != "bytes":
                    value = _encoded(kind_of, value)
                parts += [_number(number << 3 | 2), _number(len(value)), value]
    return b"".join(parts)
