"""Chainer's names ``chainer.functions``."""

import sys
from functools import partial

from dyrnn.chainer import _operations
from dyrnn.chainer.aliases import folder_or_raise
from dyrnn.chainer.functions.basic_math import (
    absolute,
    add,
    install_variable_arithmetics,
)
from dyrnn.chainer.functions.joining import (
    concat,
    dstack,
    get_item,
    hstack,
    install_variable_get_item,
    pad,
    pad_sequence,
    permutate,
    scatter_add,
    select_item,
    separate,
    split_axis,
    stack,
    transpose_sequence,
    vstack,
    where,
)
from dyrnn.chainer.functions.shaping import (
    broadcast,
    broadcast_to,
    cast,
    copy,
    expand_dims,
    flatten,
    flip,
    fliplr,
    flipud,
    moveaxis,
    repeat,
    reshape,
    rollaxis,
    squeeze,
    sum,
    sum_to,
    swapaxes,
    tile,
    transpose,
)

_operations.use_functions(sys.modules[__name__])
install_variable_arithmetics()
install_variable_get_item()

__getattr__ = partial(folder_or_raise, __name__)
