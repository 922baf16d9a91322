"""What old scripts expect of NumPy and NumPy 2 no longer has.

Only ``python -m dyrnn.chainer`` changes anything, in its own process and for unedited
programs: names that went away come back, arrays of sequences of several lengths become
arrays of objects, as before NumPy 1.24, and ``int`` and ``float`` take an array of one
number, as before NumPy 2.4. An edited program does without.
"""

import ast
import builtins
import functools
import importlib.abc
import importlib.machinery
import importlib.util
import sys
from pathlib import Path

import numpy as np

_RENAMED = {
    **{"int": int, "float": float, "object": object, "str": str, "complex": complex},
    **{"float_": np.float64, "complex_": np.complex128, "unicode_": np.str_},
    **{"string_": np.bytes_, "cfloat": np.complex128, "singlecomplex": np.complex64},
    **{"Inf": np.inf, "Infinity": np.inf, "infty": np.inf, "PINF": np.inf},
    **{"NINF": -np.inf, "NaN": np.nan, "NAN": np.nan, "PZERO": 0.0, "NZERO": -0.0},
    **{"product": np.prod, "cumproduct": np.cumprod, "round_": np.round},
    **{"sometrue": np.any, "alltrue": np.all, "mat": np.asmatrix},
    **{"trapz": getattr(np, "trapezoid", None), "row_stack": np.vstack},
    "asscalar": lambda a: a.item(),
    "rank": np.ndim,
    "in1d": lambda a, b, **options: np.isin(np.ravel(a), b, **options),
    "msort": lambda a: np.sort(a, axis=0),
    "find_common_type": lambda arrays, scalars: np.result_type(*arrays, *scalars),
}
_SCALAR = "_dyrnn_number_of"


def revive(folder):
    """Give NumPy its old names, and tolerance of sequences of several lengths, back.

    Conversions of numbers are those of programs in ``folder``.
    """
    for name, value in _RENAMED.items():
        if name not in vars(np) and value is not None:
            setattr(np, name, value)
    for module, name in (
        (np, "array"),
        (np, "asarray"),
        (np.random, "permutation"),
    ):
        setattr(module, name, _tolerant(getattr(module, name)))
    setattr(builtins, _SCALAR, _number_of)
    sys.meta_path.insert(0, _Finder(folder))


def _tolerant(function):
    """Return a function that makes an array of objects where rows differ in length."""

    @functools.wraps(function)
    def call(x, *args, **kwargs):
        try:
            return function(x, *args, **kwargs)
        except ValueError as error:
            if "inhomogeneous" not in str(error) or args or kwargs:
                raise
        rows = _objects(x)
        return rows if "array" in function.__name__ else function(rows)

    return call


def _objects(x):
    """Return a sequence as an array of objects, of two axes where rows are alike."""
    rows = list(x)
    lengths = {len(row) if isinstance(row, (list, tuple)) else None for row in rows}
    if len(lengths) == 1 and lengths != {None}:
        array = np.empty((len(rows), *lengths), object)
        for index in np.ndindex(array.shape):
            array[index] = rows[index[0]][index[1]]
        return array
    array = np.empty(len(rows), object)
    array[:] = rows
    return array


def _number_of(x):
    """Return the number in an array of one, anything else as it is."""
    is_one = isinstance(x, np.ndarray) and x.ndim > 0 and x.size == 1
    return x.reshape(()) if is_one else x


class _Conversions(ast.NodeTransformer):
    """Turns ``int(x)`` into ``int(_number_of(x))``, and ``float`` alike."""

    def visit_Call(self, node):
        self.generic_visit(node)
        is_named = isinstance(node.func, ast.Name) and node.func.id in ("int", "float")
        if is_named and len(node.args) == 1 and not node.keywords:
            (argument,) = node.args
            if not isinstance(argument, ast.Starred):
                inner = ast.Call(ast.Name(_SCALAR, ast.Load()), [argument], [])
                node.args = [ast.copy_location(inner, argument)]
                ast.fix_missing_locations(node)
        return node


def compiled(source, path):
    """Compile the source of an old program."""
    tree = _Conversions().visit(ast.parse(source, filename=str(path)))
    return compile(tree, str(path), "exec", dont_inherit=True)


class _Loader(importlib.machinery.SourceFileLoader):
    """Loads a module beside the script as the script; its bytecode is not kept."""

    def get_code(self, fullname):
        return compiled(self.get_data(self.path), self.path)


class _Finder(importlib.abc.MetaPathFinder):
    """Finds modules in the folder of a program."""

    def __init__(self, folder):
        self.folder = Path(folder)

    def find_spec(self, fullname, path=None, target=None):
        folder = Path(path[0]) if path else self.folder
        is_inside = folder.is_relative_to(self.folder)
        if not is_inside or fullname in sys.builtin_module_names:
            return None
        name = fullname.rpartition(".")[2]
        for file in (folder / name / "__init__.py", folder / f"{name}.py"):
            if file.is_file():
                loader = _Loader(fullname, str(file))
                return importlib.util.spec_from_file_location(
                    fullname, file, loader=loader
                )
        return None
