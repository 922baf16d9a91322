"""Einstein's summation, and sums of products over axes.

``EinSum`` keeps the terms as Chainer writes them, ``@`` for the dots, and spells the
dots out in letters when it sees the inputs. Its gradient is a summation again, with
the output in place of an input; only that an input may have letters twice, or letters
that nothing else has: ``DiagEinSum`` writes on a diagonal then, and along an axis.
"""

import math
import string

import numpy as np

from dyrnn.chainer import _backend
from dyrnn.chainer.function_node import FunctionNode
from dyrnn.chainer.functions.nodes import functions
from dyrnn.chainer.utils import type_check
from dyrnn.chainer.utils.misc import force_array
from dyrnn.chainer.variable import as_variable

LETTERS = string.ascii_uppercase + string.ascii_lowercase


def _sum_products(terms, out, arrays):
    """Sum over plain letters."""
    xp = _backend.get_array_module(*arrays)
    # The order of products counts from three on.
    y = xp.einsum(f"{','.join(terms)}->{out}", *arrays, optimize=len(arrays) > 2)
    return force_array(y, xp.result_type(*[x.dtype for x in arrays]))


class EinSum(FunctionNode):
    """Sum of products over letters.

    Parameters
    ----------
    in_subs : str
        Letters of the inputs' axes, commas between the inputs, ``@`` for dots.
    out_sub : str
        Letters of the output's axes.
    """

    out_shape: tuple | None = None

    def __init__(self, in_subs, out_sub):
        self.in_subs = in_subs
        self.out_sub = out_sub

    def check_type_forward(self, in_types):
        terms = self.in_subs.split(",")
        type_check._argname(in_types, tuple([f"x{i}" for i in range(len(terms))]))
        sizes: dict = {}
        for term, x in zip(terms, in_types, strict=True):
            type_check.expect(x.dtype.kind == "f")
            if "@" in term:
                type_check.expect(x.ndim >= len(term) - 1)
            else:
                type_check.expect(x.ndim == len(term))
            for axis, letter in self._axes(term):
                size = x.shape[axis]
                if letter in sizes:
                    type_check.expect(sizes[letter] == size)
                sizes.setdefault(letter, size)

    @staticmethod
    def _axes(term):
        """Return pairs of an axis and its letter, counted from the end behind ``@``."""
        head, dots, tail = term.partition("@")
        axes = list(enumerate(head))
        if dots:
            axes.append((slice(len(head), -len(tail) or None), dots))
        return axes + [(i - len(tail), letter) for i, letter in enumerate(tail)]

    def _spelled(self, inputs):
        """Return the terms and the output in plain letters, and those of the dots."""
        terms, out = self.in_subs.split(","), self.out_sub
        pairs = [(t, x.ndim) for t, x in zip(terms, inputs, strict=True)]
        if self.out_shape is not None:
            pairs.append((out, len(self.out_shape)))
        n = max([ndim - len(t) + 1 for t, ndim in pairs if "@" in t], default=0)
        dots = "".join([s for s in LETTERS if s not in self.in_subs + out][:n])
        return [t.replace("@", dots) for t in terms], out.replace("@", dots), dots

    def forward(self, inputs):
        self.retain_inputs(tuple(range(len(inputs))))
        terms, out, dots = self._spelled(inputs)
        if not set(dots) <= set(out):
            raise ValueError(
                f"einsum: {self.in_subs.replace('@', '...')!r} has dots for {len(dots)}"
                " axes, the output has none. Give these axes letters to sum over them."
            )
        return (_sum_products(terms, out, inputs),)

    def backward(self, indexes, gys):
        inputs = self.get_retained_inputs()
        terms = self.in_subs.split(",")
        found = []
        for i in indexes:
            with_gy = [*terms[:i], self.out_sub, *terms[i + 1 :]]
            node = DiagEinSum(",".join(with_gy), terms[i], inputs[i].shape)
            (gx,) = node.apply((*inputs[:i], gys[0], *inputs[i + 1 :]))
            found.append(functions().cast(gx, inputs[i].dtype))
        return tuple(found)


class DiagEinSum(EinSum):
    """Sum of products of which the output may have letters twice, or of its own.

    It is zero off the diagonal of a letter that it has twice, and constant along
    the axis of a letter that no input has.
    """

    def __init__(self, in_subs, out_sub, out_shape):
        super().__init__(in_subs, out_sub)
        self.out_shape = out_shape

    def forward(self, inputs):
        self.retain_inputs(tuple(range(len(inputs))))
        terms, out, _ = self._spelled(inputs)
        once = sorted(set(out))
        known = [s for s in once if s in "".join(terms)]
        if known == once and len(once) == len(out):
            return (_sum_products(terms, out, inputs),)
        sums = _sum_products(terms, "".join(known), inputs)
        xp = _backend.get_array_module(*inputs)
        y = xp.zeros(self.out_shape, sums.dtype)
        # A view of the diagonals.
        diagonal = xp.einsum(f"{out}->{''.join(once)}", y)
        diagonal[...] = sums[tuple([slice(None) if s in known else None for s in once])]
        return (y,)


def einsum(*operands):
    """Einstein's summation: a text and operands, or operands and their axes."""
    if operands and isinstance(operands[0], str):
        text, *xs = operands
        terms, arrow, out = text.replace(" ", "").replace("...", "@").partition("->")
    else:
        pairs = zip(operands[::2], operands[1::2], strict=False)
        xs, axes = map(list, zip(*pairs, strict=True)) if operands else ([], [])
        terms = ",".join(map(_letters, axes))
        arrow = "->" if len(operands) % 2 else ""
        out = _letters(operands[-1]) if arrow else ""
    if not arrow:
        named = terms.replace(",", "")
        once = [s for s in sorted(set(named) - {"@"}) if named.count(s) == 1]
        out = "@" * ("@" in named) + "".join(once)
    _check_text(terms, out, len(xs))
    return EinSum(terms, out).apply(tuple(xs))[0]


def _letters(axes):
    if not all(a is Ellipsis or isinstance(a, int) for a in axes):
        raise TypeError(f"einsum: axes are numbers or Ellipsis, not {axes!r}")
    return "".join("@" if a is Ellipsis else LETTERS[a] for a in axes)


def _check_text(terms, out, n):
    if not n:
        raise ValueError("einsum: no operands")
    for symbol in (terms + out).replace(",", "").replace("@", ""):
        if symbol not in LETTERS:
            raise ValueError(f"einsum: {symbol!r} is not a letter")
    for symbol in out.replace("@", "."):
        if symbol not in terms.replace("@", "."):
            raise ValueError(f"einsum: the output has {symbol!r}, which no input has")
    if terms.count(",") + 1 != n:
        raise ValueError(f"einsum: {terms.count(',') + 1} terms for {n} operands")


def _axes_pair(axes, a, b):
    """Return the axes of both that ``tensordot`` sums over."""
    if isinstance(axes, int):
        return tuple(range(a.ndim - axes, a.ndim)), tuple(range(axes))
    if not isinstance(axes, (tuple, list)):
        raise TypeError("axes must be a pair of sequence of integers or an integer")
    if len(axes) != 2:
        raise ValueError(
            "axes must be a pair of sequence of integers when it is a list or tuple."
        )
    left, right = [(x,) if np.isscalar(x) else tuple(x) for x in axes]
    if len(left) != len(right):
        raise ValueError(f"tensordot: {len(left)} axes against {len(right)}")
    return left, right


def tensordot(a, b, axes=2):
    """Sum of products over axes of both."""
    a, b = as_variable(a), as_variable(b)
    left, right = _axes_pair(axes, a, b)
    if len(left) > min(a.ndim, b.ndim):
        raise ValueError(
            f"tensordot: {len(left)} axes of shapes {a.shape} and {b.shape}"
        )
    left, right = [i % a.ndim for i in left], [i % b.ndim for i in right]
    if [a.shape[i] for i in left] != [b.shape[i] for i in right]:
        raise ValueError(
            f"tensordot: axes {left} of {a.shape} and {right} of {b.shape} "
            "differ in length"
        )
    F = functions()
    a_rest = [i for i in range(a.ndim) if i not in left]
    b_rest = [i for i in range(b.ndim) if i not in right]
    rows = math.prod([a.shape[i] for i in a_rest])
    n = math.prod([a.shape[i] for i in left])
    flat_a = F.reshape(F.transpose(a, (*a_rest, *left)), (rows, n))
    columns = math.prod([b.shape[i] for i in b_rest])
    flat_b = F.reshape(F.transpose(b, (*right, *b_rest)), (n, columns))
    shape = tuple([a.shape[i] for i in a_rest] + [b.shape[i] for i in b_rest])
    return F.reshape(F.matmul(flat_a, flat_b), shape)
