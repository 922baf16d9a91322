"""Einstein's summation, and sums of products over axes, as Chainer writes them."""

import string
from functools import partial

from dyrnn import functions as engine
from dyrnn.chainer.bridging import bridge
from dyrnn.chainer.utils import type_check
from dyrnn.chainer.variable import as_variable

LETTERS = string.ascii_uppercase + string.ascii_lowercase


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
    _check_text(terms, out, xs)
    text = f"{terms}->{out}".replace("@", "...")
    check = partial(_check_einsum, terms.split(","))
    return bridge(partial(engine.einsum, text), *xs, name="EinSum", check=check)


def _letters(axes):
    if not all(a is Ellipsis or isinstance(a, int) for a in axes):
        raise TypeError(f"einsum: axes are numbers or Ellipsis, not {axes!r}")
    return "".join("@" if a is Ellipsis else LETTERS[a] for a in axes)


def _check_text(terms, out, xs):
    """Raise unless the text can be read, and goes with as many operands."""
    if not xs:
        raise ValueError("einsum: no operands")
    for symbol in (terms + out).replace(",", "").replace("@", ""):
        if symbol not in LETTERS:
            raise ValueError(f"einsum: {symbol!r} is not a letter")
    for symbol in out.replace("@", "."):
        if symbol not in terms.replace("@", "."):
            raise ValueError(f"einsum: the output has {symbol!r}, which no input has")
    terms = terms.split(",")
    if len(terms) != len(xs):
        raise ValueError(f"einsum: {len(terms)} terms for {len(xs)} operands")
    pairs = [(t, x.ndim) for t, x in zip(terms, xs, strict=True) if "@" in t]
    n = max([ndim - len(term) + 1 for term, ndim in pairs], default=0)
    if n and "@" not in out:
        raise ValueError(
            f"einsum: the inputs have dots for {n} axes, the output has none. Give "
            "these axes letters to sum over them."
        )


def _check_einsum(terms, in_types):
    """Expect each axis to be as long as all others of its letter; nothing stretches."""
    type_check._argname(in_types, tuple([f"x{i}" for i in range(len(terms))]))
    sizes: dict = {}
    for term, x in zip(terms, in_types, strict=True):
        type_check.expect(x.dtype.kind == "f")
        head, dots, tail = term.partition("@")
        if dots:
            type_check.expect(x.ndim >= len(term) - 1)
        else:
            type_check.expect(x.ndim == len(term))
        axes = [*enumerate(head), *[(i - len(tail), s) for i, s in enumerate(tail)]]
        if dots:
            axes.append((slice(len(head), -len(tail) or None), dots))
        for axis, letter in axes:
            size = x.shape[axis]
            if letter in sizes:
                type_check.expect(sizes[letter] == size)
            sizes.setdefault(letter, size)


def _axes_pair(axes, a, b):
    """Return the axes of both that ``tensordot`` sums over."""
    if isinstance(axes, int):
        axes = tuple(range(a.ndim - axes, a.ndim)), tuple(range(axes))
    if not isinstance(axes, (tuple, list)):
        raise TypeError("axes must be a pair of sequence of integers or an integer")
    if len(axes) != 2:
        raise ValueError(
            "axes must be a pair of sequence of integers when it is a list or tuple."
        )
    left, right = [(x,) if isinstance(x, int) else tuple(x) for x in axes]
    if len(left) != len(right):
        raise ValueError(f"tensordot: {len(left)} axes against {len(right)}")
    if len(left) > min(a.ndim, b.ndim):
        raise ValueError(
            f"tensordot: {len(left)} axes of shapes {a.shape} and {b.shape}"
        )
    return left, right


def tensordot(a, b, axes=2):
    """Sum of products over axes of both."""
    a, b = as_variable(a), as_variable(b)
    function = partial(engine.tensordot, axes=_axes_pair(axes, a, b))
    return bridge(function, a, b, name="Tensordot")
