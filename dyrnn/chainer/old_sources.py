"""Sources of old programs, compiled so that arrays and numbers mix as in NumPy 1.

Before NumPy 2.4 ``float(x)`` and ``math.exp(x)`` took an array of one number whatever
its axes, ``y[i] = x`` stored it, and ``"%f" % x`` printed it. Chainer's programs do all
four with what a model of one output returns. NumPy's arrays cannot be taught that, so
the calls, stores and formats are changed as the program is compiled. So are calls of
methods that arrays have lost, such as ``x.ptp()``, and arithmetic: before NumPy 2 an
array decided on the type of its product with a number, and ``np.sqrt(2) * x`` was as
precise as ``x``, which is what links accept. Version 1 gave variables to models, later
ones give arrays, whose ``data`` is only memory; it is the array here.
"""

import ast
import builtins
import copy
import functools
import importlib.abc
import importlib.util
import operator
import sys
from importlib.machinery import PathFinder, SourceFileLoader
from pathlib import Path

import numpy as np

from dyrnn.chainer import _backend
from dyrnn.chainer.old_numpy import number_of

_NUMBER = "_dyrnn_number_of"
_STORED = "_dyrnn_stored_in"
_FORMAT = "_dyrnn_format"
_METHOD = "_dyrnn_method"
_DATA = "_dyrnn_data"
_OPERATION = "_dyrnn_"  # and its name
_OPERATIONS = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
_LIBRARIES = ("chainer", "chainermn", "chainerx", "dyrnn", "numpy", "cupy")


def install(folder):
    """Compile the modules of programs in ``folder`` as their scripts.

    So are modules where a program itself extends ``sys.path``, and installed ones whose
    source, or whose package's, names Chainer.
    """
    setattr(builtins, _NUMBER, number_of)
    setattr(builtins, _STORED, _stored_in)
    setattr(builtins, _FORMAT, _format)
    for kind, operation in _OPERATIONS.items():
        setattr(builtins, _OPERATION + kind.__name__, _of_old_types(operation))
    setattr(builtins, _METHOD, _method)
    setattr(builtins, _DATA, _data)
    finder = _Finder(folder)
    sys.meta_path.insert(0, finder)
    last = sys.meta_path.index(PathFinder)
    sys.meta_path.insert(last, _Elsewhere(finder.programs))


def compiled(source, path):
    """Compile the source of an old program."""
    tree = ast.fix_missing_locations(Numbers().visit(ast.parse(source, str(path))))
    return compile(tree, str(path), "exec", dont_inherit=True)


def _itemset(x, *args):
    """Store a number: the only one, or that at a flat or a full index."""
    *index, value = args
    if not index:
        x[...] = value
    elif isinstance(index[0], tuple):
        x[index[0]] = value
    else:
        x.flat[index[0]] = value


_LOST = {
    "itemset": _itemset,
    "newbyteorder": lambda x, order="S": x.view(x.dtype.newbyteorder(order)),
    "ptp": np.ptp,
    "tostring": np.ndarray.tobytes,
}


def _data(x):
    """Return ``x.data``, the array itself if it is one."""
    return x if isinstance(x, _backend.array_types()) else x.data


def _method(x, name):
    """Return the method of an array, also one that arrays have lost."""
    if isinstance(x, np.ndarray) and not hasattr(x, name):
        return functools.partial(_LOST[name], x)
    return getattr(x, name)


def _stored_in(x, value):
    """Return ``value`` as ``x[...] = value`` takes it."""
    is_array = isinstance(x, np.ndarray) and x.dtype != object
    return number_of(value) if is_array else value


def _of_old_types(operation):
    """Return an operation whose result has the type of an array, not of a number."""

    def call(x, y):
        if isinstance(x, np.ndarray) or isinstance(y, np.ndarray):
            return operation(_beside(y, x), _beside(x, y))
        return operation(x, y)

    return call


def _beside(array, x):
    """Return ``x``, as a plain number if it is one of a wider type than the array."""
    is_number = isinstance(x, (np.floating, np.ndarray)) and x.ndim == 0
    if is_number and x.dtype.kind == "f" and isinstance(array, np.ndarray):
        is_wider = array.dtype.kind == "f" and x.itemsize > array.itemsize
        return float(x) if is_wider and array.ndim else x
    return x


class _Printed:
    """An array of one number for ``%``: a number only where the text asks for one."""

    def __init__(self, x):
        self.x = x

    def __float__(self):
        return float(number_of(self.x))

    def __int__(self):
        return int(number_of(self.x))

    def __str__(self):
        return str(self.x)

    def __repr__(self):
        return repr(self.x)


def _printed(value):
    return value if number_of(value) is value else _Printed(value)


def _format(text, values):
    """Return ``text % values``."""
    if isinstance(values, tuple):
        return text % tuple([_printed(value) for value in values])
    if type(values) is dict:
        return text % {key: _printed(value) for key, value in values.items()}
    return text % _printed(values)


class Numbers(ast.NodeTransformer):
    """Turns ``float(x)`` into ``float(_number_of(x))``, and the like."""

    is_index = False  # whether it is within brackets

    def visit_Call(self, node):
        self.generic_visit(node)
        match node.func:
            case ast.Name("int" | "float") if len(node.args) == 1 and not node.keywords:
                node.args = [_wrapped(arg) for arg in node.args]
            case ast.Attribute(ast.Name("math")):
                node.args = [_wrapped(arg) for arg in node.args]
            case ast.Attribute(x, name) if name in _LOST:
                node.func = _call(_METHOD, node.func, x, ast.Constant(name))
        return node

    def visit_Attribute(self, node):
        match node:
            case ast.Attribute(ast.Attribute(x, "data"), "ptr"):  # a GPU's memory
                node.value.value = self.visit(x)
                return node
        self.generic_visit(node)
        match node:
            case ast.Attribute(x, "data", ast.Load()):
                return _call(_DATA, node, x)
        return node

    def visit_Assign(self, node):
        self.generic_visit(node)
        match node.targets:
            case [ast.Subscript(value=x)] if _is_plain(x):
                node.value = _stored(x, node.value)
        return node

    def visit_AugAssign(self, node):
        self.generic_visit(node)
        match node.target:
            case ast.Subscript(value=x) if _is_plain(x):
                node.value = _stored(x, node.value)
        return node

    def visit_Subscript(self, node):
        node.value = self.visit(node.value)
        was_index, self.is_index = self.is_index, True
        node.slice = self.visit(node.slice)
        self.is_index = was_index
        return node

    def visit_BinOp(self, node):
        self.generic_visit(node)
        match node:
            case ast.BinOp(ast.Constant(value=str()), ast.Mod()):
                return _call(_FORMAT, node, node.left, node.right)
            case ast.BinOp(ast.Constant()) | ast.BinOp(right=ast.Constant()):
                return node  # a plain number, which is of no type
        if self.is_index or type(node.op) not in _OPERATIONS:
            return node  # an index is of whole numbers, and often in a loop
        name = _OPERATION + type(node.op).__name__
        return _call(name, node, node.left, node.right)


def _wrapped(argument):
    if isinstance(argument, (ast.Starred, ast.Constant)):
        return argument
    return _call(_NUMBER, argument, argument)


def _call(name, place, *args):
    """Return a call where ``place`` is in the text."""
    return ast.copy_location(ast.Call(ast.Name(name, ast.Load()), [*args], []), place)


def _stored(x, value):
    return _call(_STORED, value, copy.deepcopy(x), value)


def _is_plain(x):
    """Return whether an expression may be evaluated twice."""
    plain = (ast.Name, ast.Attribute, ast.Subscript, ast.Constant, ast.expr_context)
    return all(isinstance(node, plain) or _is_data(node) for node in ast.walk(x))


def _is_data(node):
    match node:
        case ast.Call(ast.Name(name)):
            return name == _DATA
    return False


class _Loader(SourceFileLoader):
    """Loads a module of a program as its script; its bytecode is not kept."""

    def get_code(self, fullname):
        return compiled(self.get_data(self.path), self.path)


class _Finder(importlib.abc.MetaPathFinder):
    """Finds modules of programs: before Python does, those in the script's folder."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.programs = set()  # their top-level names

    def find_spec(self, fullname, path=None, target=None):
        top = fullname.partition(".")[0]
        if top not in self.programs and (path or top in sys.builtin_module_names):
            return None
        folder = Path(path[0]) if path else self.folder
        name = fullname.rpartition(".")[2]
        for file in (folder / name / "__init__.py", folder / f"{name}.py"):
            if file.is_file():
                self.programs.add(top)
                loader = _Loader(fullname, str(file))
                return importlib.util.spec_from_file_location(
                    fullname, file, loader=loader
                )
        return None


class _Elsewhere(importlib.abc.MetaPathFinder):
    """Finds modules where Python does, and tells those of programs."""

    def __init__(self, programs):
        self._programs = programs
        self._at_start = {str(Path(entry).resolve()) for entry in sys.path}

    def find_spec(self, fullname, path=None, target=None):
        if fullname.partition(".")[0] in _LIBRARIES:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is None or type(spec.loader) is not SourceFileLoader:
            return spec
        if self._is_program(spec):
            self._programs.update({fullname} if not path else ())
            spec.loader = _Loader(fullname, spec.origin)
        return spec

    def _is_program(self, spec):
        file = Path(spec.origin)
        if "." not in spec.name:
            is_package = spec.submodule_search_locations is not None
            folder = file.parent.parent if is_package else file.parent
            if str(folder.resolve()) not in self._at_start:
                return True
        return b"chainer" in file.read_bytes()
