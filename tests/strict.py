"""A stand-in for CuPy that needs no GPU: NumPy arrays behind CuPy's rules.

Code that runs on these arrays runs on a GPU as far as the rules below reach. CuPy's
are: no conversion to NumPy unless asked for, no operand that is a NumPy array, only the
functions CuPy has with the arguments they take there, 0-d arrays (not scalars) from
reductions and indexing, ids out of range wrap around silently. Whatever makes the host
wait for the device counts as a synchronisation, see :func:`synchronisations`.

``xp`` is the array module, ``@strict`` the name of its device.
"""

import operator
from contextlib import contextmanager
from typing import Any

import numpy as np

from dyrnn import backend

# Names of NumPy that CuPy 14 has, too, as far as a library of networks may want them.
FUNCTIONS = """
all allclose amax amin any append arange argmax argmin argpartition argsort argwhere
around array array_equal array_split asanyarray asarray ascontiguousarray
asfortranarray astype atleast_1d atleast_2d atleast_3d average bincount broadcast_arrays
broadcast_shapes broadcast_to can_cast clip column_stack compress concat concatenate
convolve copy copyto count_nonzero cross cumprod cumsum cumulative_prod cumulative_sum
delete diag diag_indices diagflat diagonal diff digitize dot dstack einsum empty
empty_like expand_dims extract eye fill_diagonal finfo flatnonzero flip fliplr flipud
full full_like histogram hsplit hstack identity iinfo imag indices inner interp isclose
isdtype isin isneginf isposinf isscalar issubdtype ix_ kron lexsort linspace logspace
may_share_memory mean median meshgrid min_scalar_type max min moveaxis nan_to_num
nanargmax nanargmin nanmax nanmean nanmin nanprod nanstd nansum nanvar ndim nonzero ones
ones_like outer pad partition percentile permute_dims place prod promote_types ptp put
put_along_axis putmask quantile ravel real repeat require reshape result_type roll
rollaxis rot90 round row_stack searchsorted select shape shares_memory size sort split
squeeze stack std sum swapaxes take take_along_axis tensordot tile trace transpose tri
tril tril_indices triu triu_indices unique unravel_index vander var vdot vsplit vstack
where zeros zeros_like
""".split()
UFUNCS = """
abs absolute add arccos arccosh arcsin arcsinh arctan arctan2 arctanh bitwise_and
bitwise_count bitwise_not bitwise_or bitwise_xor cbrt ceil conj conjugate copysign cos
cosh deg2rad divide divmod equal exp exp2 expm1 fabs float_power floor floor_divide fmax
fmin fmod frexp greater greater_equal heaviside hypot invert isfinite isinf isnan ldexp
left_shift less less_equal log log10 log1p log2 logaddexp logaddexp2 logical_and
logical_not logical_or logical_xor matmul maximum minimum mod modf multiply negative
nextafter not_equal positive pow power rad2deg reciprocal remainder right_shift rint
sign signbit sin sinh sqrt square subtract tan tanh true_divide trunc
""".split()
CONSTANTS = """
bool bool_ complex128 complex64 dtype e euler_gamma float16 float32 float64 floating
generic inexact inf int16 int32 int64 int8 integer intp nan newaxis number pi
signedinteger uint16 uint32 uint64 uint8 unsignedinteger
""".split()
METHODS = """
all any argmax argmin argpartition argsort astype choose clip compress conj conjugate
copy cumprod cumsum diagonal dot flatten max mean min nonzero partition prod ptp put
ravel repeat reshape round searchsorted squeeze std sum swapaxes take trace transpose
var view
""".split()
LINALG = (
    "cholesky det eigh eigvalsh inv matrix_power norm pinv qr slogdet solve svd".split()
)

# Take a shape, a number or host data, not an array, as first argument.
FROM_HOST = """
arange broadcast_shapes can_cast diag_indices empty eye finfo full identity iinfo
indices isdtype isscalar issubdtype linspace logspace min_scalar_type ones
promote_types result_type tri tril_indices triu_indices where zeros
""".split()
CONVERTING = {"array", "asarray", "asanyarray", "ascontiguousarray", "asfortranarray"}
# The shape of the result depends on values, which the host has to wait for.
WAITING = set("argwhere bincount extract flatnonzero nonzero place unique".split())
# NumPy's result is a Python number where CuPy's is a 0-d array.
BECOME_ARRAYS = {"allclose", "array_equal", "count_nonzero"}
NOT_IN_CUPY = {
    "where",
    "initial",
    "like",
    "device",
    "correction",
    "stable",
    "signature",
}

_count = 0


@contextmanager
def synchronisations():
    """Count, inside the block, how often the host waits for the device.

    Examples
    --------
    >>> with synchronisations() as count:
    ...     x = float(xp.ones(3).sum())
    >>> count()
    1
    """
    start = _count
    end = None

    def count():
        return (_count if end is None else end) - start

    yield count
    end = _count


def _wait():
    global _count
    _count += 1


def _host(x):
    """Return the NumPy array inside a strict one; refuse NumPy arrays as CuPy does."""
    if isinstance(x, ndarray):
        return x._array
    if isinstance(x, np.ndarray):
        raise TypeError(f"Unsupported type {np.ndarray}: a NumPy array of {x.shape}")
    if isinstance(x, (list, tuple)):
        return type(x)(_host(item) for item in x)
    return x


def _device(x):
    """Wrap what a NumPy function returned; a scalar becomes a 0-d array."""
    if isinstance(x, (np.ndarray, np.generic)):
        return ndarray(np.asarray(x))
    if isinstance(x, tuple):
        items = [_device(item) for item in x]
        return type(x)(*items) if hasattr(x, "_fields") else tuple(items)
    if isinstance(x, list):
        return [_device(item) for item in x]
    return x


def _holds_array(x):
    if isinstance(x, (list, tuple)):
        return any(_holds_array(item) for item in x)
    return isinstance(x, ndarray)


def _checked(name, kwargs):
    unknown = NOT_IN_CUPY & kwargs.keys() if name != "copyto" else set()
    if unknown:
        raise TypeError(f"{name}() in CuPy has no argument {sorted(unknown)[0]!r}")
    if kwargs.get("kind") not in (None, "stable"):
        raise ValueError(f"{name}() in CuPy sorts stably only, not {kwargs['kind']!r}")
    return {key: _host(value) for key, value in kwargs.items()}


def _call(name, function, args, kwargs):
    """Call a NumPy function on the arrays inside; ``out`` is returned as it is."""
    out = kwargs.get("out")
    result = function(*[_host(x) for x in args], **_checked(name, kwargs))
    return _device(result) if out is None or isinstance(out, tuple) else out


def _convert(function, x, *args, **kwargs):
    """Make a strict array from one, from a NumPy array, which is copied, or a list."""
    on_host = isinstance(x, np.ndarray)
    before = x if on_host else _host(x)
    result = function(before, *args, **kwargs)
    if result is before:
        return ndarray(result.copy()) if on_host else x
    return ndarray(result.copy() if on_host and result.base is not None else result)


def _function(name, function):
    def call(*args, **kwargs):
        if name in WAITING:
            _wait()
        if name in CONVERTING:
            return _convert(function, *args, **_checked(name, kwargs))
        if name not in FROM_HOST and not _holds_array(args[0] if args else None):
            if name != "einsum":
                raise TypeError(f"{name}() in CuPy takes arrays, not {args[:1]!r}")
        if name == "repeat" and isinstance(args[1], ndarray):
            raise ValueError("repeat() in CuPy takes no array of repeats")
        result = _call(name, function, args, kwargs)
        return _device(np.asarray(result)) if name in BECOME_ARRAYS else result

    call.__name__ = name
    return call


class Ufunc:
    """A universal function with the methods that CuPy implements."""

    def __init__(self, name):
        self.__name__ = name
        self._ufunc = getattr(np, name)

    def __call__(self, *args, **kwargs):
        return _call(self.__name__, self._ufunc, args, kwargs)

    def _method(self, method, supported, args, kwargs):
        if self.__name__ not in supported:
            raise NotImplementedError(f"{self.__name__}.{method} in CuPy")
        return _call(self.__name__, getattr(self._ufunc, method), args, kwargs)

    def at(self, *args):
        return self._method("at", ("add", "subtract", "maximum", "minimum"), args, {})

    def reduce(self, *args, **kwargs):
        return self._method("reduce", ("add", "multiply"), args, kwargs)

    def accumulate(self, *args, **kwargs):
        return self._method("accumulate", ("add", "multiply"), args, kwargs)

    def reduceat(self, *args, **kwargs):
        return self._method("reduceat", ("add",), args, kwargs)

    def outer(self, *args, **kwargs):
        return self._method("outer", UFUNCS, args, kwargs)


class Linalg:
    """The decompositions and solvers of ``cupy.linalg``."""


class Module:
    """The array module ``xp``. A name that CuPy does not have is an AttributeError."""

    __name__ = "strict"

    def __init__(self):
        for name in UFUNCS:
            setattr(self, name, Ufunc(name))
        for name in FUNCTIONS:
            if hasattr(np, name):  # a few came with later releases of NumPy 2
                setattr(self, name, _function(name, getattr(np, name)))
        for name in CONSTANTS:
            setattr(self, name, getattr(np, name))
        self.ndarray = ndarray
        self.linalg = Linalg()
        for name in LINALG:
            setattr(self.linalg, name, _function(name, getattr(np.linalg, name)))

    def asnumpy(self, array):
        return array.get() if isinstance(array, ndarray) else np.asarray(array)


class ndarray:
    """An array on the pretended device; ``get`` copies it to the host."""

    __slots__ = ("_array",)
    __array_priority__ = 100

    def __init__(self, array):
        self._array = array

    # What the host knows without waiting.
    shape = property(lambda self: self._array.shape)
    ndim = property(lambda self: self._array.ndim)
    size = property(lambda self: self._array.size)
    dtype = property(lambda self: self._array.dtype)
    nbytes = property(lambda self: self._array.nbytes)
    itemsize = property(lambda self: self._array.itemsize)
    strides = property(lambda self: self._array.strides)
    flags = property(lambda self: self._array.flags)
    base = property(lambda self: _device(self._array.base))
    T = property(lambda self: ndarray(self._array.T))
    mT = property(lambda self: ndarray(self._array.mT))
    real = property(lambda self: ndarray(self._array.real))
    imag = property(lambda self: ndarray(self._array.imag))
    device = property(lambda self: backend.device_of(self))

    def __len__(self):
        return len(self._array)

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    # What it has to wait for.
    def get(self):
        _wait()
        return self._array.copy()

    def item(self, *index):
        _wait()
        return self._array.item(*index)

    def tolist(self):
        _wait()
        return self._array.tolist()

    def tobytes(self):
        _wait()
        return self._array.tobytes()

    def __float__(self):
        return float(self.item())

    def __int__(self):
        return int(self.item())

    def __bool__(self):
        _wait()
        return bool(self._array)

    def __repr__(self):
        _wait()
        return repr(self._array)

    def __format__(self, spec):
        return format(self.item() if self.ndim == 0 else str(self), spec)

    __str__ = __repr__

    # Conversions that CuPy refuses or redirects.
    def __array__(self, dtype=None, copy=None):
        raise TypeError(
            "Implicit conversion to a NumPy array is not allowed. Use `.get()`."
        )

    def __array_ufunc__(self, ufunc, method, *inputs, **kwargs):
        if any(getattr(x, "__array_ufunc__", 0) is None for x in inputs):
            return NotImplemented
        ours = getattr(xp, ufunc.__name__)
        out = kwargs.get("out")
        if out is not None:
            kwargs["out"] = out[0]
        return (ours if method == "__call__" else getattr(ours, method))(
            *inputs, **kwargs
        )

    def __array_function__(self, function, types, args, kwargs):
        ours = getattr(xp, function.__name__, None)
        if ours is None or not all(issubclass(t, (ndarray, np.ndarray)) for t in types):
            return NotImplemented
        return ours(*args, **kwargs)

    # Content.
    def set(self, array):
        self._array[...] = array

    def fill(self, value):
        self._array.fill(value.item() if isinstance(value, ndarray) else value)

    def sort(self, axis=-1):
        self._array.sort(axis, kind="stable")

    def __getitem__(self, key):
        return _device(self._array[self._key(key)])

    def __setitem__(self, key, value):
        if isinstance(value, (list, tuple)):
            raise TypeError("CuPy assigns arrays and numbers, not lists")
        self._array[self._key(key)] = _host(value)

    def _key(self, key):
        keys = list(key) if isinstance(key, tuple) else [key]
        axis = 0
        for i, k in enumerate(keys):
            if isinstance(k, ndarray) and k.dtype == bool:
                _wait()  # the number of rows picked
            elif isinstance(k, ndarray) and axis is not None and self.size:
                keys[i] = ndarray(k._array.astype(np.int64) % self.shape[axis])
            if k is Ellipsis or axis is None:
                axis = None  # from here on the axes are counted from the end
            elif isinstance(k, ndarray) and k.dtype == bool:
                axis += k.ndim
            elif k is not None:
                axis += 1
        host = [_host(k) for k in keys]
        return tuple(host) if isinstance(key, tuple) else host[0]

    def __copy__(self):
        return ndarray(self._array.copy())

    def __deepcopy__(self, memo):
        return ndarray(self._array.copy())

    __hash__ = None


def _operator(function, reflected=False):
    def call(self, other):
        if getattr(other, "__array_ufunc__", 0) is None:
            return NotImplemented
        a, b = self._array, _host(other)
        return _device(function(b, a) if reflected else function(a, b))

    return call


def _inplace(function):
    def call(self, other):
        if getattr(other, "__array_ufunc__", 0) is None:
            return NotImplemented
        self._array = function(self._array, _host(other))
        return self

    return call


def _method(name):
    def call(self, *args, **kwargs):
        if name in WAITING:
            _wait()
        return _call(name, getattr(self._array, name), args, kwargs)

    call.__name__ = name
    return call


_BINARY = "add sub mul truediv floordiv mod pow matmul and or xor lshift rshift".split()
for _name in _BINARY:
    _f = getattr(operator, f"__{_name}__")
    setattr(ndarray, f"__{_name}__", _operator(_f))
    setattr(ndarray, f"__r{_name}__", _operator(_f, reflected=True))
    if _name != "matmul":  # CuPy has no @=
        setattr(ndarray, f"__i{_name}__", _inplace(getattr(operator, f"__i{_name}__")))
for _name in "lt le eq ne gt ge".split():
    setattr(ndarray, f"__{_name}__", _operator(getattr(operator, f"__{_name}__")))
for _name in "neg pos abs invert".split():
    _f = getattr(operator, f"__{_name}__")
    setattr(ndarray, f"__{_name}__", lambda self, _f=_f: _device(_f(self._array)))
for _name in METHODS:
    setattr(ndarray, _name, _method(_name))


class StrictDevice(backend.Device):
    """The pretended device."""

    name = "@strict"

    def send(self, array):
        if isinstance(array, ndarray):
            return array
        return ndarray(np.array(backend.to_cpu(array)))


xp: Any = Module()
DEVICE = StrictDevice()
DEVICE.xp = xp
backend.register_array_module(ndarray, xp, ndarray.get, DEVICE)
