"""Names of what the public functions take, for their annotations.

They say what a reader asks first; shapes, ranges and dtypes are in the docstrings. A
variable, an array or a number is a ``VariableLike`` (``engine/core.py``), what names a
device a ``DeviceLike`` (``backend.py``), what fills a parameter an ``InitializerLike``
(``initializers.py``).
"""

import os
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

# Of NumPy or CuPy: CuPy's arrays have NumPy's interface, and no types of their own.
Array = np.ndarray
Axis = int | Sequence[int] | None  # one, several, or all
Shape = int | Sequence[int]
PathLike = str | os.PathLike[str]
TriggerLike = Callable[[Any], bool] | tuple[float, str] | None  # what get_trigger takes


class Examples(Protocol):
    """A dataset: anything with a length and elements."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: Any, /) -> Any: ...


class Batches(Protocol):
    """What a training loop needs of an iterator."""

    @property
    def epoch(self) -> int: ...

    @property
    def epoch_detail(self) -> float: ...

    def next(self) -> Any: ...

    def finalize(self) -> None: ...

    def serialize(self, s: Any, /) -> None: ...
