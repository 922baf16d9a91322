"""How contributions to a gradient add up.

A gradient is a sum, evaluated when somebody reads it. In backpropagation through time a
weight gets one contribution per time step; a contribution may be a promise, and all
promises of one kind are evaluated together: T products ``gy.T @ x`` become one matrix
product over all rows, and T lookups in an embedding become one sparse gradient instead
of T dense arrays of V rows.

Only this file, and the rules that make such a term (:func:`product`, :func:`rows`),
know about promises. A new kind is one class with ``total`` and ``dense``.
"""

import math

import numpy as np

from dyrnn import backend, kernels


class Deferred:
    """A contribution that is computed later, together with others of its class."""

    dtype: np.dtype
    shape: tuple[int, ...]

    @staticmethod
    def total(terms):
        """Return the sum of several terms of this class: an array or a Deferred."""
        raise NotImplementedError

    def dense(self):
        """Return this term alone as a new array."""
        return self.total([self])


class Product(Deferred):
    """The product ``gy.T @ x`` of a weight's gradient: gy (N, O), x (N, I)."""

    def __init__(self, gy, x):
        self.gy = gy
        self.x = x
        self.shape = (gy.shape[1], x.shape[1])
        self.dtype = x.dtype

    @staticmethod
    def total(terms):
        if len(terms) > 1:
            xp = backend.get_array_module(terms[0].x)
            gy = xp.concatenate([term.gy for term in terms])
            x = xp.concatenate([term.x for term in terms])
        else:
            gy, x = terms[0].gy, terms[0].x
        value = kernels.matmul(gy.T, x)
        # 0 * NaN is NaN: rows without a gradient, as of ignored labels, may hold one.
        if isinstance(value, np.ndarray) and not np.isfinite(value[:1].sum()):
            is_used = (gy != 0).any(axis=1)
            value = kernels.matmul(gy.T, np.where(is_used[:, None], x, 0))
        return value


class Rows(Deferred):
    """A gradient of shape (V, D) that is zero but for some rows.

    ``values`` (N, D) belong to rows ``ids`` (N,). ``is_unique`` says that the ids are
    strictly ascending, which :meth:`total` makes them on the CPU; on a GPU it makes a
    dense array, of which the size is known.
    """

    def __init__(self, ids, values, shape, is_unique=False):
        self.ids = ids
        self.values = values
        self.shape = shape
        self.dtype = values.dtype
        self.is_unique = is_unique

    @staticmethod
    def total(terms):
        first = terms[0]
        if len(terms) == 1 and first.is_unique:
            return first
        xp = backend.get_array_module(first.values)
        if len(terms) == 1:
            ids, values = first.ids, first.values
        else:
            ids = xp.concatenate([term.ids for term in terms])
            values = xp.concatenate([term.values for term in terms])
        if xp is not np:  # the host would have to wait for the number of rows
            return Rows(ids, values, first.shape).dense()
        ids, values = kernels.sum_rows_by_id(ids, values)
        return Rows(ids, values, first.shape, is_unique=True)

    def dense(self):
        xp = backend.get_array_module(self.values)
        value = xp.zeros(self.shape, self.dtype)
        if self.is_unique:
            value[self.ids] = self.values
        else:
            kernels.add_rows_by_id(value, self.ids, self.values)
        return value


class Part(Deferred):
    """A gradient that is zero but for the part ``key``, of integers and slices.

    The gradients of ``x[0]``, ``x[1]``, ... go into one array instead of T whole ones.
    """

    def __init__(self, key, values, shape):
        self.key = key
        self.values = values
        self.shape = shape
        self.dtype = values.dtype

    @staticmethod
    def total(terms):
        first = terms[0]
        xp = backend.get_array_module(first.values)
        value = xp.zeros(first.shape, first.dtype)
        for term in terms:
            value[term.key] += term.values
        return value


def product(xp, gy, x):
    """Return a weight's gradient ``gy.T @ x``, deferred: gy (N, O), x (N, I)."""
    if hasattr(xp, "ndarray"):
        return Product(gy, x)
    return xp.matmul(xp.transpose(gy), x)


def densify(value):
    """Return a term as an array; an array is returned as it is."""
    return value.dense() if isinstance(value, Deferred) else value


_MANY = 4096  # numbers that may be added one by one: their sum is some 1e-6 off


def add_up(x, axis, keepdims):
    """Sum an array over axes: halves in single, and many numbers in double precision.

    NumPy adds one by one, but along the innermost axis. A GPU adds in a tree.
    """
    dtype = np.float32 if x.dtype == np.float16 else None
    if type(x) is np.ndarray and x.size > _MANY and x.dtype.char in "fe":
        axes = axis if type(axis) is tuple else (axis,)
        if axis is not None and math.prod([x.shape[i] for i in axes]) > _MANY:
            dtype = np.float64
    total = x.sum(axis=axis, keepdims=keepdims, dtype=dtype)
    return total if dtype is None else total.astype(x.dtype)


def sum_to(gy, shape):
    """Sum ``gy`` over the axes along which an array of ``shape`` was broadcast.

    Arrays are added up as in :func:`add_up`.
    """
    if gy.shape == shape:
        return gy
    lead = len(gy.shape) - len(shape)
    axes = tuple(range(lead)) + tuple(
        lead + i
        for i, size in enumerate(shape)
        if size == 1 and gy.shape[lead + i] != 1
    )
    if not axes:
        return gy
    if backend.is_array(gy):
        return add_up(gy, axes, True).reshape(shape)
    return gy.sum(axis=axes, keepdims=True).reshape(shape)


class Sum:
    """Terms to add up: arrays, variables and promises.

    Arrays are borrowed from whoever made them, and never written to; ``owned`` hands
    one over. A sum that was evaluated is owned.
    """

    __slots__ = ("is_owned", "rate", "square", "terms")

    def __init__(self, *terms, owned=False):
        self.terms = list(terms)
        self.is_owned = owned
        self.rate = 1.0  # a factor that still has to be applied
        self.square = None  # the sum of its squares without it, where somebody took it

    def add(self, term):
        """Add a contribution."""
        if self.rate != 1.0:
            self.value()
        self.terms.append(term)
        self.is_owned = False
        self.square = None

    def scale(self, rate):
        """Multiply the sum by a Python number, when it is next read."""
        self.rate *= float(rate)

    def replace(self, value):
        """Become ``value``, an array or :class:`Rows` of unique ids, and own it."""
        self.terms, self.is_owned, self.rate, self.square = [value], True, 1.0, None

    def settled(self):
        """Return the sum, evaluated, and the factor that is still to be applied to it.

        It is an array or :class:`Rows`, and is not to be written to.
        """
        if len(self.terms) > 1:
            self._add_up()
        elif isinstance(self.terms[0], Deferred):
            self.terms[0] = type(self.terms[0]).total(self.terms)
            self.is_owned = True
        if isinstance(self.terms[0], np.generic):  # an array without axes on a GPU
            self.terms[0] = np.array(self.terms[0])
        return self.terms[0], self.rate

    def lend(self):
        """Return the sum as an array or variable that others may hold, too."""
        value = densify(self.settled()[0])
        self.is_owned = False
        return value

    def value(self):
        """Return the sum, factor applied: an array or :class:`Rows`, to write to."""
        value, rate = self.settled()
        if not self.is_owned:
            value = value.copy()
            self.is_owned = True
        if rate != 1.0:
            if isinstance(value, Rows):
                value = Rows(value.ids, value.values * rate, value.shape, True)
            else:
                value *= rate
        self.terms[0], self.rate, self.square = value, 1.0, None
        return value

    def dense(self):
        """Return the sum, factor applied, as one array to write to."""
        value = self.value()
        if isinstance(value, Deferred):
            value = self.terms[0] = value.dense()
        return value

    def _add_up(self):
        kinds: dict[type[Deferred], list] = {}
        plain = []
        for term in self.terms:
            if isinstance(term, Deferred):
                kinds.setdefault(type(term), []).append(term)
            else:
                plain.append(term)
        totals = [kind.total(terms) for kind, terms in kinds.items()]
        if not plain and len(totals) == 1:
            value = totals[0]
        else:
            plain += [densify(total) for total in totals]
            value = plain[0] + plain[1] if len(plain) > 1 else plain[0]
            for term in plain[2:]:
                # The running sum is ours; variables make a new one each time.
                value = _add_in_place(value, term)
        self.terms = [value]
        self.is_owned = True


def settled(arrived):
    """Return for each leaf the sum of the list of terms that arrived there, settled.

    Promises are kept now: the arrays that they hold may change afterwards.
    """
    totals = {leaf: Sum(*terms) for leaf, terms in arrived.items()}
    for total in totals.values():
        total.settled()
    return totals


def settle(sums):
    """Return of each `Sum` what its ``settled`` does."""
    return [each.settled() for each in sums]


def _add_in_place(value, term):
    if backend.is_array(value) and backend.is_array(term):
        value += term
        return value
    return value + term
