"""Chainer's names ``chainer.training.triggers``."""

from functools import partial

from dyrnn.chainer.aliases import folder_or_raise
from dyrnn.chainer.training.triggers.counting import (
    IntervalTrigger,
    ManualScheduleTrigger,
    OnceTrigger,
    TimeTrigger,
)
from dyrnn.chainer.training.triggers.watching import (
    BestValueTrigger,
    EarlyStoppingTrigger,
    MaxValueTrigger,
    MinValueTrigger,
)

__getattr__ = partial(folder_or_raise, __name__)
