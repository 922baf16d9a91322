"""Chainer's names ``chainer.training.updaters``."""

from functools import partial

from dyrnn.chainer.aliases import folder_or_raise
from dyrnn.chainer.training.updaters.standard import StandardUpdater

__getattr__ = partial(folder_or_raise, __name__)
