"""Chainer's names ``chainer.iterators``."""

from functools import partial

from dyrnn.chainer.aliases import folder_or_raise
from dyrnn.chainer.iterators.ordering import OrderSampler, ShuffleOrderSampler
from dyrnn.chainer.iterators.processes import MultiprocessIterator
from dyrnn.chainer.iterators.serial import SerialIterator
from dyrnn.chainer.iterators.threads import MultithreadIterator

__getattr__ = partial(folder_or_raise, __name__)
