"""Chainer's names ``chainer.optimizers``."""

from functools import partial

from dyrnn.chainer.aliases import folder_or_raise
from dyrnn.chainer.optimizers.moments import (
    MSVAG,
    AdaBound,
    Adam,
    AdamW,
    AMSBound,
    AMSGrad,
)
from dyrnn.chainer.optimizers.rules import (
    SGD,
    SMORMS3,
    AdaDelta,
    AdaGrad,
    CorrectedMomentumSGD,
    MomentumSGD,
    NesterovAG,
    RMSprop,
    RMSpropGraves,
)

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
