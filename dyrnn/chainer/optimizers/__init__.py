"""Chainer's names ``chainer.optimizers``."""

from functools import partial

from dyrnn.chainer.aliases import folder_or_raise
from dyrnn.chainer.optimizers.adaptive import (
    MSVAG,
    SMORMS3,
    AdaDelta,
    AdaGrad,
    RMSprop,
    RMSpropGraves,
)
from dyrnn.chainer.optimizers.descent import (
    SGD,
    CorrectedMomentumSGD,
    MomentumSGD,
    NesterovAG,
)
from dyrnn.chainer.optimizers.moments import AdaBound, Adam, AdamW, AMSBound, AMSGrad

__all__ = [
    "AMSBound",
    "AMSGrad",
    "AdaBound",
    "AdaDelta",
    "AdaGrad",
    "Adam",
    "AdamW",
    "CorrectedMomentumSGD",
    "MSVAG",
    "MomentumSGD",
    "NesterovAG",
    "RMSprop",
    "RMSpropGraves",
    "SGD",
    "SMORMS3",
]

__getattr__ = partial(folder_or_raise, __name__)
