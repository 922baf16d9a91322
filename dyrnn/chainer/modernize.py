"""What NumPy wants otherwise in an old program: ``python -m dyrnn.chainer.modernize``.

It prints a unified diff of the files that it is given, to read and apply::

    python -m dyrnn.chainer.modernize train.py model.py | patch -p0

An array of one number and of some axes is no longer taken for a number in ``float(x)``,
``math.exp(x)``, ``"%f" % x`` and ``table[i] = x``: there ``x.item()`` is written, where
``x`` is seen to be an array, since it ends in ``.data``, ``.array`` or ``.grad``, comes
from NumPy, or is a name that is given nothing else. A method of a model may be given
variables or arrays, and ``data`` of an array is only memory: ``x.data`` of an argument
becomes ``getattr(x, "array", x)``.
"""

import ast
import collections
import difflib
import importlib.util
import re
import sys
from pathlib import Path

_ARRAYS = ("data", "array", "grad")
_MODULES = ("np", "numpy", "xp", "cupy", "cp")
_SEND = ("to_cpu", "to_gpu", "asnumpy")
_MODELS = ("Chain", "ChainList", "Link", "FunctionSet")
_CONVERSION = re.compile(r"%[-+ #0-9.]*([a-zA-Z%])")


def modernized(text):
    """Return the text of a program as it is to be written now.

    Raises
    ------
    SyntaxError
        If it is not Python 3.
    """
    for edits_of in (_data, _numbers, _formats, _stores):
        while edits := [*edits_of(ast.parse(text))]:
            text = _edited(text, *max(edits, key=lambda edit: _place(edit[0])))
    return text


def difference(text, path):
    """Return the unified diff of a program and what it is to be."""
    old, new = (t.splitlines(keepends=True) for t in (text, modernized(text)))
    return "".join(difflib.unified_diff(old, new, str(path), str(path)))


def _place(node):
    """Order expressions: the last one, and what is within others, comes last."""
    return node.lineno, node.col_offset, -node.end_lineno, -node.end_col_offset


def _edited(text, node, new):
    """Return the text with an expression replaced; ``{}`` in ``new`` is the old one."""
    lines = text.encode().splitlines(keepends=True)
    begin = sum(map(len, lines[: node.lineno - 1])) + node.col_offset
    end = sum(map(len, lines[: node.end_lineno - 1])) + node.end_col_offset
    source = b"".join(lines)
    old = source[begin:end].decode()
    return (source[:begin] + new.replace("{}", old).encode() + source[end:]).decode()


def _is_array(node, names):
    """Return whether an expression is seen to be an array."""
    match node:
        case ast.Name(name):
            return name in names
        case ast.Attribute(x, name):
            is_setting = isinstance(x, ast.Name) and x.id in ("self", "args")
            return name in _ARRAYS and not is_setting
        case ast.Subscript(value=x) | ast.UnaryOp(operand=x):
            return _is_array(x, names)
        case ast.BinOp(left=x, right=y):
            return _is_array(x, names) or _is_array(y, names)
        case ast.Call(ast.Name(name)):
            return name in _SEND
        case ast.Call(ast.Attribute(x, method)):
            of_numpy = isinstance(x, ast.Name) and x.id in _MODULES
            of_array = method != "item" and _is_array(x, names)
            return of_numpy or of_array or method in _SEND
    return False


def _arrays(tree):
    """Return the names that are given arrays and nothing else."""
    values = collections.defaultdict(list)
    stored: collections.Counter = collections.Counter()
    for node in ast.walk(tree):
        match node:
            case ast.Assign([ast.Name(name)], x):
                values[name].append(x)
            case ast.Assign([ast.Tuple(xs)], ast.Tuple(ys)) if len(xs) == len(ys):
                for name, y in zip(xs, ys, strict=True):
                    values[getattr(name, "id", "")].append(y)
            case ast.Name(name, ast.Store()) | ast.arg(name):
                stored[name] += 1
    names: set[str] = set()
    for _ in range(3):  # a name may be given what another one was
        for name, given in values.items():
            if len(given) == stored[name] and all(_is_array(x, names) for x in given):
                names.add(name)
    return names


def _item(x):
    return "({}).item()" if isinstance(x, (ast.BinOp, ast.UnaryOp)) else "{}.item()"


def _numbers(tree):
    names = _arrays(tree)
    for node in ast.walk(tree):
        match node:
            case ast.Call(ast.Name("int" | "float"), [_] as args, []) | ast.Call(
                ast.Attribute(ast.Name("math")), args, []
            ):
                yield from [(x, _item(x)) for x in args if _is_array(x, names)]


def _formats(tree):
    names = _arrays(tree)
    for node in ast.walk(tree):
        match node:
            case ast.BinOp(ast.Constant(str(text)), ast.Mod(), values):
                values = values.elts if isinstance(values, ast.Tuple) else [values]
                kinds = _CONVERSION.findall(text.replace("%%", ""))
                for kind, x in zip(kinds, values, strict=False):
                    if kind in "dieEfFgG" and _is_array(x, names):
                        yield x, _item(x)


def _stores(tree):
    names = _arrays(tree)
    for node in ast.walk(tree):
        match node:
            case ast.Assign([ast.Subscript(slice=i)], x) | ast.AugAssign(
                ast.Subscript(slice=i), value=x
            ) if _is_array(x, names) and _is_name(x) and _is_name(i):
                yield x, "{}.item() if {}.size == 1 else {}"


def _is_name(node):
    """Return whether an expression names something, without computing or slices."""
    kinds = (ast.Name, ast.Attribute, ast.Subscript, ast.Constant, ast.Tuple)
    return all(isinstance(n, (*kinds, ast.expr_context)) for n in ast.walk(node))


def _data(tree):
    for model in ast.walk(tree):
        match model:
            case ast.ClassDef(bases=bases):
                kinds = {ast.unparse(base).rpartition(".")[2] for base in bases}
                if kinds.intersection(_MODELS):
                    yield from _data_of_arguments(model)


def _data_of_arguments(model):
    for method in model.body:
        if isinstance(method, ast.FunctionDef):
            names = {arg.arg for arg in method.args.args[1:]}
            for node in ast.walk(method):
                match node:
                    case ast.Attribute(ast.Name(x), "data", ast.Load()) if x in names:
                        yield node, f'getattr({x}, "array", {x})'


def main():
    """Print the diffs."""
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        sys.exit("usage: python -m dyrnn.chainer.modernize FILE...")
    for path in sys.argv[1:]:
        text = importlib.util.decode_source(Path(path).read_bytes())
        sys.stdout.write(difference(text, path))


if __name__ == "__main__":
    main()
