"""Layers: functions with parameters and state, ``import dyrnn.links as L``.

Recurrent layers take one step (B, I) or a window (T, B, I) and keep their state from
call to call until ``reset_state()``.
"""

from dyrnn.links.classifier import Classifier
from dyrnn.links.connection import (
    Bias,
    Bilinear,
    Dropout,
    EmbedID,
    Highway,
    Linear,
    Maxout,
    Parameter,
    Scale,
)
from dyrnn.links.recurrent import LSTM

__all__ = [
    # without memory
    "Linear",
    "EmbedID",
    "Bias",
    "Scale",
    "Bilinear",
    "Maxout",
    "Highway",
    "Parameter",
    "Dropout",
    "Classifier",
    # recurrent
    "LSTM",
]
