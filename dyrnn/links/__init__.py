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
from dyrnn.links.normalization import BatchNormalization, LayerNormalization
from dyrnn.links.output import (
    BinaryHierarchicalSoftmax,
    BlackOut,
    CRF1d,
    NegativeSampling,
    WalkerAlias,
)
from dyrnn.links.recurrent import GRU, LSTM, ElmanRNN, Recurrent, StatelessLSTM
from dyrnn.links.recurrent_stacks import (
    NStepBiGRU,
    NStepBiLSTM,
    NStepBiRNNReLU,
    NStepBiRNNTanh,
    NStepGRU,
    NStepLSTM,
    NStepRNNReLU,
    NStepRNNTanh,
)
from dyrnn.links.recurrent_variants import (
    MGU,
    ChildSumTreeLSTM,
    JordanRNN,
    NaryTreeLSTM,
    StatefulGRU,
    StatefulPeepholeLSTM,
    StatefulZoneoutLSTM,
    StatelessGRU,
)

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
    "LayerNormalization",
    "BatchNormalization",
    # recurrent, one step or a window a call
    "Recurrent",
    "ElmanRNN",
    "JordanRNN",
    "LSTM",
    "StatefulPeepholeLSTM",
    "StatefulZoneoutLSTM",
    "GRU",
    "StatefulGRU",
    "MGU",
    # without a state of their own
    "StatelessLSTM",
    "StatelessGRU",
    "ChildSumTreeLSTM",
    "NaryTreeLSTM",
    # stacks over lists of sequences
    "NStepRNNTanh",
    "NStepRNNReLU",
    "NStepBiRNNTanh",
    "NStepBiRNNReLU",
    "NStepLSTM",
    "NStepBiLSTM",
    "NStepGRU",
    "NStepBiGRU",
    # losses with weights
    "NegativeSampling",
    "BlackOut",
    "BinaryHierarchicalSoftmax",
    "WalkerAlias",
    "CRF1d",
]
