"""Chainer's names ``chainer.optimizer_hooks``."""

from functools import partial

from dyrnn.chainer.aliases import folder_or_raise
from dyrnn.chainer.optimizer_hooks.clipping import (
    GradientClipping,
    GradientHardClipping,
)
from dyrnn.chainer.optimizer_hooks.regularization import (
    GradientNoise,
    Lasso,
    WeightDecay,
)

__all__ = [
    "GradientClipping",
    "GradientHardClipping",
    "GradientNoise",
    "Lasso",
    "WeightDecay",
]

__getattr__ = partial(folder_or_raise, __name__)
