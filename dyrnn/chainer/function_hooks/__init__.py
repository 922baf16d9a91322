"""Chainer's names ``chainer.function_hooks``."""

from functools import partial

from dyrnn.chainer.aliases import folder_or_raise
from dyrnn.chainer.function_hooks.debug_print import PrintHook
from dyrnn.chainer.function_hooks.timer import TimerHook

__getattr__ = partial(folder_or_raise, __name__)
