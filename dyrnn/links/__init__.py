"""Layers: functions with parameters and state, ``import dyrnn.links as L``.

Recurrent layers take one step (B, I) or a window (T, B, I) and keep their state from
call to call until ``reset_state()``.
"""

from dyrnn.links.adaptive import AdaptiveSoftmax
from dyrnn.links.attending import Attention
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
from dyrnn.links.normalization import (
    BatchNormalization,
    LayerNormalization,
    StandardScaler,
)
from dyrnn.links.output import (
    BinaryHierarchicalSoftmax,
    BlackOut,
    CRF1d,
    NegativeSampling,
    WalkerAlias,
)
from dyrnn.links.recurrent import GRU, LSTM, ElmanRNN, Recurrent, StatelessLSTM
from dyrnn.links.recurrent_stacks import (
    Bidirectional,
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

__all__ = [name for name, value in globals().items() if isinstance(value, type)]
