"""Expectations on the inputs of a function, with messages that quote them.

``check_type_forward`` is run twice at most. First in the light mode, where the types
are the arrays themselves and an expectation is a plain comparison; if that fails, with
expressions in their place, which remember how they were made and can say
``Expect: in_types[0].ndim == 2``.
"""

import contextlib
import math
import operator
import threading

import numpy as np

from dyrnn.chainer import _backend


class _State(threading.local):
    light_mode = False
    current_function = None


_state = _State()


class InvalidType(Exception):
    """An expectation that is not met: ``expect`` and ``actual`` are texts."""

    def __init__(self, expect, actual, msg=None):
        if msg is None:
            msg = f"Expect: {expect}\nActual: {actual}"
            if _state.current_function is not None:
                label = _state.current_function.label
                msg = f"\nInvalid operation is performed in: {label} (Forward)\n\n{msg}"
        super().__init__(msg)
        self.expect = expect
        self.actual = actual

    def __reduce__(self):
        return InvalidType, (self.expect, self.actual, self.args[0])


class Expr:
    """An expression: ``eval()`` computes it, ``str()`` shows it.

    The priority tells where parentheses are needed.
    """

    __hash__ = None

    def __init__(self, priority):
        self.priority = priority

    def eval(self):
        raise NotImplementedError

    def __getattr__(self, name):
        return GetAttr(self, name)

    def __getitem__(self, key):
        return GetItem(self, key)

    def __call__(self, *args):
        return Call(self, args)

    def __bool__(self):
        raise RuntimeError(
            "An Expr instance cannot be evaluated as bool. Please use "
            "chainer.utils.type_check.eval() to evaluate an expression."
        )

    __nonzero__ = __bool__


def _value(v):
    """Evaluate expressions within lists and tuples, too."""
    if isinstance(v, Expr):
        return v.eval()
    if isinstance(v, (list, tuple)):
        return type(v)(map(_value, v))
    return v


def _repr(v):
    if isinstance(v, Expr):
        return str(v)
    if isinstance(v, list):
        return f"[{', '.join(map(_repr, v))}]"
    if isinstance(v, tuple):
        comma = "," if len(v) == 1 else ""
        return f"({', '.join(map(_repr, v))}{comma})"
    return repr(v)


class Atom(Expr):
    """What never needs parentheses."""

    def __init__(self):
        super().__init__(8)


class Constant(Atom):
    """A value, shown as it is."""

    def __init__(self, value):
        super().__init__()
        self.value = value

    def __str__(self):
        return _repr(self.value)

    def eval(self):
        return self.value


class Variable(Atom):
    """A value with a name."""

    def __init__(self, value, name):
        super().__init__()
        self.value = value
        self.name = name

    def __str__(self):
        return self.name

    def eval(self):
        return self.value


class GetAttr(Atom):
    """``obj.name``."""

    def __init__(self, obj, name):
        super().__init__()
        self.obj = obj
        self.name = name

    def __str__(self):
        name = self.name.value if isinstance(self.name, Constant) else self.name
        if isinstance(name, str):
            return f"{_repr(self.obj)}.{name}"
        return f"getattr({_repr(self.obj)}, {_repr(self.name)})"

    def eval(self):
        return getattr(_value(self.obj), _value(self.name))


def _subscript(key):
    if key is Ellipsis:
        return "..."
    if isinstance(key, slice):
        parts = [key.start, key.stop] + ([] if key.step is None else [key.step])
        return ":".join("" if part is None else _repr(part) for part in parts)
    if isinstance(key, tuple):
        return ", ".join(map(_subscript, key))
    return _repr(key)


class GetItem(Atom):
    """``obj[key]``."""

    def __init__(self, obj, key):
        super().__init__()
        self.obj = obj
        self.key = key

    def __str__(self):
        return f"{_repr(self.obj)}[{_subscript(self.key)}]"

    def eval(self):
        return _value(self.obj)[_value(self.key)]


class Call(Atom):
    """``obj(*args)``."""

    def __init__(self, obj, args):
        super().__init__()
        self.obj = obj
        self.args = args

    def __str__(self):
        return f"{_repr(self.obj)}({', '.join(map(_repr, self.args))})"

    def eval(self):
        return _value(self.obj)(*map(_value, self.args))


class UnaryOperator(Expr):
    """``-term`` and the like."""

    def __init__(self, priority, term, exp, func):
        super().__init__(priority)
        self.term = term
        self.exp = exp
        self.func = func

    def __str__(self):
        text = _repr(self.term)
        if isinstance(self.term, Expr) and self.term.priority < self.priority:
            text = f"({text})"
        return self.exp + text

    def eval(self):
        return self.func(_value(self.term))


class BinaryOperator(Expr):
    """``lhs + rhs`` and the like."""

    def __init__(self, priority, lhs, rhs, exp, func, right_associative=False):
        super().__init__(priority)
        self.lhs = lhs
        self.rhs = rhs
        self.exp = exp
        self.func = func
        self.right_associative = right_associative

    def _side(self, term, is_inner):
        text = _repr(term)
        if isinstance(term, Expr):
            # The inner side binds as tightly as the operator itself.
            bound = self.priority if is_inner else self.priority + 1
            if term.priority < bound:
                return f"({text})"
        return text

    def __str__(self):
        left = self._side(self.lhs, not self.right_associative)
        right = self._side(self.rhs, self.right_associative)
        return f"{left} {self.exp} {right}"

    def eval(self):
        return self.func(_value(self.lhs), _value(self.rhs))


class Testable:
    """What :func:`expect` takes."""

    def expect(self):
        raise NotImplementedError


class BoolBinaryOperator(BinaryOperator, Testable):
    """A comparison."""

    def __init__(self, lhs, rhs, exp, inv, func):
        super().__init__(-1, lhs, rhs, exp, func)
        self.inv = inv

    def expect(self):
        left, right = _value(self.lhs), _value(self.rhs)
        if not self.func(left, right):
            raise InvalidType(
                f"{self.lhs} {self.exp} {self.rhs}", f"{left} {self.inv} {right}"
            )


def _install_operators():
    """Give expressions the operators of Python."""
    comparisons = "eq == != | ne != == | lt < >= | le <= > | gt > <= | ge >= <"
    for row in comparisons.split(" | "):
        name, exp, inv = row.split()
        _install_comparison(name, exp, inv)

    binary = (
        "add + 4, sub - 4, mul * 5, truediv / 5, floordiv // 5, mod % 5, "
        "lshift << 3, rshift >> 3, and & 2, xor ^ 1, or | 0"
    )
    for row in binary.split(", "):
        name, exp, priority = row.split()
        _install_binary(name, exp, int(priority))
    _install_binary("pow", "**", 7, right_associative=True)

    for name, exp in (("neg", "-"), ("pos", "+"), ("invert", "~")):
        _install_unary(name, exp)


def _install_comparison(name, exp, inv):
    func = getattr(operator, name)
    setattr(Expr, f"__{name}__", lambda x, y: BoolBinaryOperator(x, y, exp, inv, func))


def _install_unary(name, exp):
    func = getattr(operator, name)
    setattr(Expr, f"__{name}__", lambda x: UnaryOperator(6, x, exp, func))


def _install_binary(name, exp, priority, right_associative=False):
    func = getattr(operator, f"__{name}__")

    def forward(x, y):
        return BinaryOperator(priority, x, y, exp, func, right_associative)

    setattr(Expr, f"__{name}__", forward)
    if name != "pow":
        setattr(Expr, f"__r{name}__", lambda x, y: forward(y, x))


_install_operators()


class TypeInfo:
    """Shape and type of an array."""

    def __init__(self, shape, dtype):
        self.shape = shape
        self.dtype = dtype
        self.ndim = len(shape)

    @property
    def size(self):
        return math.prod(self.shape)


class TypeInfoTuple(tuple):
    """Types of all inputs, as expressions."""

    name = ""

    def size(self):
        return Variable(len(self), f"{self.name}.size")


class LightTypeInfoTuple(tuple):
    """Types of all inputs, in the light mode: the arrays."""

    def size(self):
        return len(self)


def get_types(data, name, accept_none, *, shapes=None):
    """Return the types of arrays as expressions ``name[0]``, ..."""
    assert isinstance(data, tuple)
    info = TypeInfoTuple(
        _get_type(name, i, x, accept_none, None if shapes is None else shapes[i])
        for i, x in enumerate(data)
    )
    info.name = name
    return info


def _get_type(name, index, array, accept_none, shape):
    if accept_none and array is None:
        return Variable(TypeInfo((), None), f"{name}[{index}]")
    assert isinstance(array, _backend.array_types())
    shape = array.shape if shape is None else shape
    return Variable(TypeInfo(shape, array.dtype), f"{name}[{index}]")


def get_light_types(data, *, shapes=None):
    """Return the types of arrays for the light mode."""
    assert isinstance(data, tuple)
    if shapes is not None:
        data = [TypeInfo(s, x.dtype) for x, s in zip(data, shapes, strict=True)]
    return LightTypeInfoTuple(data)


@contextlib.contextmanager
def get_function_check_context(f):
    """Name the function ``f`` in messages inside the block."""
    before = _state.current_function
    _state.current_function = f
    try:
        yield
    finally:
        _state.current_function = before


class LightMode:
    """The light mode as a context."""

    def __enter__(self):
        _state.light_mode = True

    def __exit__(self, *_):
        _state.light_mode = False


light_mode = LightMode()


def in_light_mode():
    """Return whether types are arrays now."""
    return _state.light_mode


def _argname(in_types, names):
    """Give the types the names of the arguments."""
    if len(in_types) != len(names):
        raise InvalidType(
            f"{len(names)} argument(s)",
            f"{len(in_types)} argument(s)",
            "Invalid number of arguments",
        )
    for in_type, name in zip(in_types, names, strict=True):
        if isinstance(in_type, Variable):
            in_type.name = name


def expect(*bool_exprs):
    """Raise :class:`InvalidType` for the first expectation that is not met."""
    if _state.light_mode:
        if not all(bool_exprs):
            raise InvalidType("", "")
        return
    for expr in bool_exprs:
        if not isinstance(expr, Testable):
            raise AssertionError(f"expect() takes comparisons, not {expr!r}")
        expr.expect()


def eval(exp):
    """Return the value of an expression."""
    return exp if _state.light_mode else exp.eval()


def same_types(*arrays):
    """Return whether all arrays are NumPy's, or all CuPy's."""
    return all(isinstance(x, np.ndarray) for x in arrays) or all(
        isinstance(x, _backend.array_types()[1:]) for x in arrays
    )


def make_variable(value, name):
    """Return the value as an expression with a name."""
    return value if _state.light_mode else Variable(value, name)


def _make_variable_from_array(array, name):
    if not isinstance(array, _backend.array_types()):
        raise InvalidType(
            f"isinstance({name}, ndarray)", f"type({name}) == {type(array)}"
        )
    return make_variable(
        array if _state.light_mode else TypeInfo(array.shape, array.dtype), name
    )


_prod = Variable(math.prod, "prod")


def prod(xs):
    """Return the product of a shape's elements."""
    return math.prod(xs) if _state.light_mode else _prod(xs)


def expect_broadcast_shapes(*shape_types):
    """Raise :class:`InvalidType` unless the shapes can be broadcast together."""
    shapes = [eval(s) for s in shape_types]
    try:
        np.broadcast_shapes(*shapes)
    except ValueError:
        lines = ["cannot broadcast inputs of the following shapes:"]
        pairs = zip(shape_types, shapes, strict=True)
        lines += [f"{shape_type} = {shape}" for shape_type, shape in pairs]
        raise InvalidType("", "", "\n".join(lines)) from None
