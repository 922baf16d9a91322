"""Chainer's names ``chainer.graph_optimizations``."""

from functools import partial

from dyrnn.chainer.aliases import folder_or_raise
from dyrnn.chainer.graph_optimizations import markers

__getattr__ = partial(folder_or_raise, __name__)
