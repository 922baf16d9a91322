"""Differentiable functions: ``import dyrnn.functions as F``.

They take arrays and variables and return variables. Where NumPy has the function, name
and arguments are NumPy's, because the rules of differentiation run with this module in
place of NumPy when a gradient is itself differentiated.
"""

import sys
from types import FunctionType

from dyrnn.engine import operators
from dyrnn.functions.activation import (
    clipped_relu,
    crelu,
    elu,
    gelu,
    hard_sigmoid,
    leaky_relu,
    log_softmax,
    maxout,
    prelu,
    relu,
    relu6,
    selu,
    sigmoid,
    softmax,
    softplus,
    softsign,
    swish,
    tanh,
)
from dyrnn.functions.arithmetic import (
    absolute,
    add,
    divide,
    fmod,
    linear_interpolate,
    maximum,
    minimum,
    multiply,
    negative,
    power,
    scale,
    subtract,
)
from dyrnn.functions.attending import additive_attention, attention
from dyrnn.functions.connection import (
    bias,
    bilinear,
    embed_id,
    linear,
)
from dyrnn.functions.evaluation import (
    accuracy,
    binary_accuracy,
    classification_summary,
    f1_score,
    precision,
    r2_score,
    recall,
)
from dyrnn.functions.indexing import (
    diagonal,
    flip,
    fliplr,
    flipud,
    get_item,
    one_hot,
    permutate,
    repeat,
    scatter_add,
    select_item,
    where,
)
from dyrnn.functions.joining import (
    concat,
    concatenate,
    dstack,
    hstack,
    pad,
    pad_sequence,
    separate,
    split_axis,
    stack,
    transpose_sequence,
    vstack,
)
from dyrnn.functions.loss import (
    sequence_loss,
    softmax_cross_entropy,
)
from dyrnn.functions.math import (
    arccos,
    arcsin,
    arctan,
    arctan2,
    arctanh,
    ceil,
    clip,
    cos,
    cosh,
    exp,
    expm1,
    floor,
    log,
    log1p,
    log2,
    log10,
    rsqrt,
    sign,
    sin,
    sinh,
    sqrt,
    square,
    tan,
)
from dyrnn.functions.noise import (
    dropout,
    gaussian,
    gumbel_softmax,
    simplified_dropconnect,
    zoneout,
)
from dyrnn.functions.normalization import (
    batch_normalization,
    fixed_batch_normalization,
    layer_normalization,
)
from dyrnn.functions.output_layer import (
    linear_softmax_cross_entropy,
)
from dyrnn.functions.products import batch_matmul, einsum, matmul, tensordot
from dyrnn.functions.recurrent_stacks import (
    n_step_bigru,
    n_step_bilstm,
    n_step_birnn,
    n_step_gru,
    n_step_lstm,
    n_step_rnn,
)
from dyrnn.functions.recurrent_steps import (
    gru,
    lstm,
    lstm_step,
    peephole_lstm,
    slstm,
    tree_lstm,
)
from dyrnn.functions.recurrent_windows import (
    gru_window,
    lstm_window,
    rnn_window,
)
from dyrnn.functions.reduction import (
    argmax,
    argmin,
    average,
    batch_l2_norm_squared,
    cumprod,
    cumsum,
    logsumexp,
    max,
    mean,
    min,
    normalize,
    prod,
    sum,
)
from dyrnn.functions.regression import (
    absolute_error,
    bernoulli_nll,
    gaussian_kl_divergence,
    gaussian_nll,
    hinge,
    huber_loss,
    mean_absolute_error,
    mean_squared_error,
    negative_log_likelihood,
    sigmoid_cross_entropy,
    squared_error,
)
from dyrnn.functions.scanning import (
    scan,
)
from dyrnn.functions.shape import (
    broadcast,
    broadcast_to,
    cast,
    copy,
    expand_dims,
    flatten,
    identity,
    moveaxis,
    ones_like,
    ravel,
    reshape,
    rollaxis,
    squeeze,
    sum_to,
    swapaxes,
    tile,
    transpose,
    zeros_like,
)
from dyrnn.functions.structured_loss import (
    argmax_crf1d,
    connectionist_temporal_classification,
    crf1d,
)

__all__ = [name for name, value in globals().items() if isinstance(value, FunctionType)]

operators.use_functions(sys.modules[__name__])
