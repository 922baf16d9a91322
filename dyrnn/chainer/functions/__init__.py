"""Chainer's names ``chainer.functions``."""

import sys
from functools import partial

from dyrnn.chainer import _operations
from dyrnn.chainer.aliases import folder_or_raise
from dyrnn.chainer.functions.basic_math import (
    absolute,
    add,
    install_variable_arithmetics,
)
from dyrnn.chainer.functions.convolution import (
    average_pooling_2d,
    convolution_2d,
    max_pooling_2d,
)
from dyrnn.chainer.functions.elementwise import (
    arccos,
    arcsin,
    arctan,
    arctan2,
    arctanh,
    bias,
    ceil,
    clip,
    clipped_relu,
    cos,
    cosh,
    crelu,
    elu,
    erf,
    exp,
    expm1,
    fix,
    floor,
    fmod,
    hard_sigmoid,
    identity,
    leaky_relu,
    linear_interpolate,
    log,
    log1p,
    log2,
    log10,
    maximum,
    minimum,
    prelu,
    relu,
    relu6,
    rsqrt,
    scale,
    selu,
    sigmoid,
    sign,
    sin,
    sinh,
    softplus,
    sqrt,
    square,
    swish,
    tan,
    tanh,
)
from dyrnn.chainer.functions.joining import (
    concat,
    dstack,
    get_item,
    hstack,
    install_variable_get_item,
    pad,
    pad_sequence,
    permutate,
    scatter_add,
    select_item,
    separate,
    split_axis,
    stack,
    transpose_sequence,
    vstack,
    where,
)
from dyrnn.chainer.functions.losses import (
    absolute_error,
    bernoulli_nll,
    black_out,
    gaussian_kl_divergence,
    gaussian_nll,
    hinge,
    huber_loss,
    mean_absolute_error,
    mean_squared_error,
    sigmoid_cross_entropy,
    softmax_cross_entropy,
    squared_difference,
    squared_error,
)
from dyrnn.chainer.functions.normalizing import (
    batch_normalization,
    fixed_batch_normalization,
    layer_normalization,
    normalize,
)
from dyrnn.chainer.functions.products import (
    batch_matmul,
    bilinear,
    embed_id,
    linear,
    matmul,
)
from dyrnn.chainer.functions.recurrent import (
    lstm,
    n_step_bigru,
    n_step_bilstm,
    n_step_birnn,
    n_step_gru,
    n_step_lstm,
    n_step_rnn,
    slstm,
    tree_lstm,
)
from dyrnn.chainer.functions.reduction import (
    argmax,
    argmin,
    average,
    batch_l2_norm_squared,
    cumprod,
    cumsum,
    log_softmax,
    logsumexp,
    max,
    maxout,
    mean,
    min,
    prod,
    softmax,
    sum,
)
from dyrnn.chainer.functions.scores import (
    accuracy,
    binary_accuracy,
    classification_summary,
    f1_score,
    precision,
    r2_score,
    recall,
)
from dyrnn.chainer.functions.sequence_losses import (
    argmax_crf1d,
    connectionist_temporal_classification,
    crf1d,
)
from dyrnn.chainer.functions.shaping import (
    broadcast,
    broadcast_to,
    cast,
    copy,
    diagonal,
    expand_dims,
    flatten,
    flip,
    fliplr,
    flipud,
    moveaxis,
    repeat,
    reshape,
    rollaxis,
    squeeze,
    sum_to,
    swapaxes,
    tile,
    transpose,
)
from dyrnn.chainer.functions.stochastic import (
    dropout,
    gaussian,
    gumbel_softmax,
    simplified_dropconnect,
    zoneout,
)
from dyrnn.chainer.functions.summation import einsum, tensordot
from dyrnn.chainer.functions.word_losses import negative_sampling

_operations.use_functions(sys.modules[__name__])
install_variable_arithmetics()
install_variable_get_item()

__getattr__ = partial(folder_or_raise, __name__)
