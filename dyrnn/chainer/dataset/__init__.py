"""Chainer's names ``chainer.dataset``."""

from functools import partial

from dyrnn.chainer.aliases import folder_or_raise

__getattr__ = partial(folder_or_raise, __name__)
