"""Chainer's names ``chainer.types``: for annotations."""

import numbers
from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np

from dyrnn.chainer import _backend
from dyrnn.chainer.backends import cuda

Shape: TypeAlias = tuple[int, ...]
ShapeSpec: TypeAlias = int | Sequence[int]
DTypeSpec: TypeAlias = Any
Xp: TypeAlias = Any
NdArray: TypeAlias = np.ndarray | cuda.ndarray  # type: ignore
ScalarValue: TypeAlias = np.generic | bytes | str | memoryview | numbers.Number
DeviceSpec: TypeAlias = _backend.Device | cuda.Device | str | int  # type: ignore
CudaDeviceSpec: TypeAlias = cuda.Device | int | np.integer  # type: ignore


class AbstractInitializer(Protocol):
    """What fills an array: an ``Initializer`` or a function."""

    dtype: DTypeSpec = None

    def __call__(self, array: NdArray) -> None:
        """Fill the array."""


InitializerSpec: TypeAlias = AbstractInitializer | ScalarValue | np.ndarray
