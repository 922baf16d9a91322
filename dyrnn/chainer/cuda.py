"""``chainer.cuda``: the old place of ``chainer.backends.cuda``."""

from dyrnn.chainer.backends import cuda as _cuda
from dyrnn.chainer.backends.cuda import *  # noqa: F403
from dyrnn.chainer.backends.cuda import (  # noqa: F401
    _get_device_or_current,
    _integer_types,
)


def __getattr__(name):
    return getattr(_cuda, name)
