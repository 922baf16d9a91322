"""Chainer's names ``chainer.link_hooks``."""

from functools import partial

from dyrnn.chainer.aliases import folder_or_raise
from dyrnn.chainer.link_hooks.timer import TimerHook

__getattr__ = partial(folder_or_raise, __name__)
