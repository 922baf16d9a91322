"""What a row of the table of functions is, and inputs for rows."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Case:
    """One use of a function and what the common tests shall expect of it.

    Attributes
    ----------
    name : str
        The function, as in ``dyrnn.functions.__all__``.
    function : callable
        Takes variables or arrays like the inputs; returns one variable or several.
    reference : callable
        The same on NumPy arrays. None where a test of its own compares the values.
    inputs : sequence of arrays
        In float64 where they are floating: away from kinks, and few elements.
    label : str
        Tells uses of one function apart.
    has_gradient, has_second_gradient : bool
        Whether it can be differentiated, and twice; if not twice it must refuse.
    keeps_dtype : bool
        Whether the outputs have the type of the inputs, half precision included.
    """

    name: str
    function: Callable[..., Any]
    reference: Callable[..., Any] | None
    inputs: Sequence[Any]
    label: str = ""
    has_gradient: bool = True
    has_second_gradient: bool = True
    keeps_dtype: bool = True
    tolerance: float = field(default=1e-7)

    def __str__(self):
        return f"{self.name}-{self.label}" if self.label else self.name


def spread(*shape, low=-2.0, high=2.0, seed=0):
    """Shuffled numbers between limits, far from each other and from the middle."""
    n = max(1, int(np.prod(shape)))
    points = low + (np.arange(n + n % 2) + 0.5) * (high - low) / (n + n % 2)
    values = np.random.default_rng([seed, n]).permutation(points)[:n]
    return values.reshape(shape)


def positive(*shape, low=0.3, high=2.5, seed=0):
    return spread(*shape, low=low, high=high, seed=seed)


def ids(*shape, high, seed=0):
    return np.random.default_rng(seed).integers(0, high, shape).astype(np.int32)


def mask(*shape, seed=0):
    return np.random.default_rng(seed).random(shape) < 0.5
