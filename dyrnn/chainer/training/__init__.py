"""Chainer's names ``chainer.training``."""

from functools import partial

from dyrnn.chainer.aliases import folder_or_raise
from dyrnn.chainer.training import extensions, triggers, updaters
from dyrnn.chainer.training.bases import (
    PRIORITY_EDITOR,
    PRIORITY_READER,
    PRIORITY_WRITER,
    Extension,
    Updater,
    make_extension,
)
from dyrnn.chainer.training.loop import Trainer
from dyrnn.chainer.training.triggers.counting import IntervalTrigger, get_trigger
from dyrnn.chainer.training.updaters.standard import StandardUpdater

__getattr__ = partial(folder_or_raise, __name__)
