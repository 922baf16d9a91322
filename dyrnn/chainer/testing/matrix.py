"""Matrices with given singular values."""

import numpy as np

from dyrnn.chainer.utils import argument

_broadcast_to = np.broadcast_to  # tests of matrices take it from here


def generate_matrix(shape, dtype=float, **kwargs):
    """Return random matrices of the given ``singular_values``."""
    (values,) = argument.parse_kwargs(kwargs, ("singular_values", None))
    if len(shape) <= 1:
        raise ValueError(f"shape {shape} is invalid for matrices: too few axes")
    dtype = np.dtype(dtype)
    if dtype.kind not in "fc":
        raise TypeError(f"dtype {dtype} is not supported")
    if values is None:
        raise TypeError("singular_values is not given")
    values = np.asarray(values)
    if not np.isrealobj(values):
        raise TypeError("singular_values is not real")
    if (values < 0).any():
        raise ValueError("negative singular value is given")
    values = _broadcast_to(values, (*shape[:-2], min(shape[-2:])))
    if 0 in shape:
        return np.empty(shape, dtype=dtype)
    a = np.random.randn(*shape)
    if dtype.kind == "c":
        a = a + 1j * np.random.randn(*shape)
    u, _, vh = np.linalg.svd(a, full_matrices=False)
    return ((u * values[..., None, :]) @ vh).astype(dtype)
