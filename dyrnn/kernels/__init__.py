"""Fused array computations, one meaning for every kind of array.

A kernel takes and returns arrays, knows nothing of graphs, and is called from the
functions whose names it has. Each topic is a file: a kernel's docstring is its contract
(shapes, what is kept, what may be overwritten) and its body its meaning, in plain
operations of any array module. Where there is a faster form, in the file of the same
topic in ``cpu/`` or ``cuda/``, that one runs: see :mod:`dyrnn.kernels.dispatch`.

Everywhere: one floating dtype per call; T time steps, B sequences, I inputs, H hidden
units, N rows, V columns; an argument is only read, and a result is the caller's, unless
the contract says otherwise. Nothing that a forward kernel returns is destroyed by its
backward kernel, so a graph can be walked twice.
"""

from dyrnn.kernels.losses import (
    linear_softmax_cross_entropy,
    linear_softmax_cross_entropy_backward,
    mean_loss,
    softmax_cross_entropy,
)
from dyrnn.kernels.machine import (
    blas_threads,
    parallel,
    prepare,
    release_memory,
    threads,
)
from dyrnn.kernels.masks import dropout_mask
from dyrnn.kernels.native import form
from dyrnn.kernels.products import linear, matmul, sum_rows
from dyrnn.kernels.recurrent import (
    gru_backward,
    gru_forward,
    gru_gates,
    gru_gates_backward,
    lstm_backward,
    lstm_forward,
    lstm_gates,
    lstm_gates_backward,
    rnn_backward,
    rnn_forward,
)
from dyrnn.kernels.rows import add_rows_by_id, sum_rows_by_id, take_rows
from dyrnn.kernels.updates import clip, squared_norms, update
