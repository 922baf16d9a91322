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
from dyrnn.chainer.links.connection_links import ParameterLink as Parameter
from dyrnn.chainer.links.convolution_links import (
    Convolution1D,
    Convolution2D,
    Convolution3D,
    ConvolutionND,
    Deconvolution1D,
    Deconvolution2D,
    Deconvolution3D,
    DeconvolutionND,
    DilatedConvolution2D,
)
from dyrnn.chainer.links.output_links import (
    BatchNormalization,
    BinaryHierarchicalSoftmax,
    Classifier,
    CRF1d,
    LayerNormalization,
    NegativeSampling,
)
from dyrnn.chainer.links.recurrent_links import (
    GRU,
    LSTM,
    ChildSumTreeLSTM,
    NaryTreeLSTM,
    NStepBiGRU,
    NStepBiLSTM,
    NStepBiRNNReLU,
    NStepBiRNNTanh,
    NStepGRU,
    NStepLSTM,
    NStepRNNReLU,
    NStepRNNTanh,
    StatefulGRU,
    StatefulMGU,
    StatefulPeepholeLSTM,
    StatefulZoneoutLSTM,
    StatelessGRU,
    StatelessLSTM,
    StatelessMGU,
)

__getattr__ = partial(folder_or_raise, __name__)
