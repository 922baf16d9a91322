"""Chainer's names ``chainer.links``."""

from functools import partial

from dyrnn.chainer.aliases import folder_or_raise
from dyrnn.chainer.links.connection_links import (
    Bias,
    Bilinear,
    EmbedID,
    Highway,
    Linear,
    Maxout,
    PReLU,
    Scale,
    Swish,
)
from dyrnn.chainer.links.convolution_links import Convolution2D
from dyrnn.chainer.links.normalization_links import (
    BatchNormalization,
    LayerNormalization,
)
from dyrnn.chainer.links.output_links import (
    BinaryHierarchicalSoftmax,
    BlackOut,
    Classifier,
    CRF1d,
    NegativeSampling,
)
from dyrnn.chainer.links.parameter_link import Parameter
from dyrnn.chainer.links.recurrent_links import (
    GRU,
    LSTM,
    NStepBiGRU,
    NStepBiLSTM,
    NStepBiRNNReLU,
    NStepBiRNNTanh,
    NStepGRU,
    NStepLSTM,
    NStepRNNReLU,
    NStepRNNTanh,
    StatefulGRU,
    StatefulPeepholeLSTM,
    StatefulZoneoutLSTM,
    StatelessGRU,
    StatelessLSTM,
)
from dyrnn.chainer.links.tree_links import ChildSumTreeLSTM, NaryTreeLSTM

__getattr__ = partial(folder_or_raise, __name__)
