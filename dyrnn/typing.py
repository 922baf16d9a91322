"""Names of what the public functions take, for their annotations.

They say what a reader asks first; shapes, ranges and dtypes are in the docstrings. A
variable, an array or a number is a ``VariableLike`` (``engine/core.py``), what names a
device a ``DeviceLike`` (``backend.py``), what fills a parameter an ``InitializerLike``
(``initializers.py``).
"""

import os
from collections.abc import Sequence

import numpy as np

# Of NumPy or CuPy: CuPy's arrays have NumPy's interface, and no types of their own.
Array = np.ndarray
Axis = int | Sequence[int] | None  # one, several, or all
Shape = int | Sequence[int]
Path = str | os.PathLike[str]
