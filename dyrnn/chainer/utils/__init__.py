"""Chainer's names ``chainer.utils``."""

import collections.abc as collections_abc
from functools import partial

from dyrnn.chainer.aliases import folder_or_raise
from dyrnn.chainer.utils import (
    argument,
    array,
    conv,
    misc,
    type_check,
)
from dyrnn.chainer.utils.array import size_of_shape, sum_to
from dyrnn.chainer.utils.conv import get_conv_outsize
from dyrnn.chainer.utils.misc import (
    _check_arrays_forward_compatible,
    _format_array_props,
    _raise_from,
    _repr_with_named_data,
    experimental,
    force_array,
    force_type,
    tempdir,
)

__all__ = [
    "_check_arrays_forward_compatible",
    "_format_array_props",
    "_raise_from",
    "_repr_with_named_data",
    "argument",
    "array",
    "collections_abc",
    "conv",
    "experimental",
    "force_array",
    "force_type",
    "get_conv_outsize",
    "misc",
    "size_of_shape",
    "sum_to",
    "tempdir",
    "type_check",
]

__getattr__ = partial(folder_or_raise, __name__)
