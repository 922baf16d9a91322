"""Fused array computations, one contract for every kind of array.

A kernel takes and returns arrays, knows nothing of graphs, and is called from the
functions whose names it has. The functions below are the contracts: shapes, what is
kept, what may be overwritten. Each passes the call on to the fastest definition there
is for the arrays: :mod:`dyrnn.kernels.plain` has one of every kernel, the ``cpu_*``
files for NumPy arrays of float32 and float64, the ``cuda_*`` files for CuPy's.

Everywhere: one floating dtype per call; T time steps, B sequences, I inputs, H hidden
units, N rows, V columns; an argument is only read, and a result is the caller's, unless
the contract says otherwise. Nothing that a forward kernel returns is destroyed by its
backward kernel, so a graph can be walked twice.
"""

import importlib
from functools import lru_cache

import numpy as np

from dyrnn.backend import get_array_module
from dyrnn.kernels import cpu_matrix, cpu_rnn, cpu_update, plain
from dyrnn.kernels.machine import parallel, threads

__all__ = [
    "add_rows_by_id",
    "clip",
    "dropout_mask",
    "gru_backward",
    "gru_forward",
    "gru_gates",
    "gru_gates_backward",
    "linear",
    "linear_softmax_cross_entropy",
    "linear_softmax_cross_entropy_backward",
    "lstm_backward",
    "lstm_forward",
    "lstm_gates",
    "lstm_gates_backward",
    "matmul",
    "mean_loss",
    "parallel",
    "product_input",
    "product_weight",
    "rnn_backward",
    "rnn_forward",
    "sgd",
    "sgd_rows",
    "softmax_cross_entropy",
    "squared_norm",
    "sum_rows",
    "sum_rows_by_id",
    "take_rows",
    "threads",
    "update",
]


def _table(*modules):
    """Collect the kernels of modules by name; those of later modules come first."""
    return {
        name: function
        for module in modules
        for name, function in vars(module).items()
        if name in __all__
    }


_PLAIN = _table(plain)
_CPU = _table(plain, cpu_matrix, cpu_rnn, cpu_update)


@lru_cache(maxsize=1)
def _cuda():
    names = "cuda_matrix", "cuda_random", "cuda_rnn", "cuda_update"
    files = [importlib.import_module(f"{__name__}.{name}") for name in names]
    return _table(plain, *files)


def _kernel(name, array):
    """Return the function ``name`` for arrays of the type of ``array``."""
    if type(array) is np.ndarray:
        return (_CPU if array.dtype.char in "fd" else _PLAIN)[name]
    is_cupy = get_array_module(array).__name__ == "cupy"
    return (_cuda() if is_cupy else _PLAIN)[name]


def lstm_gates(a, c_prev, x=None):
    """Run what follows the product in one step of an LSTM.

    Parameters
    ----------
    a : (B, 4H)
        Gate inputs in blocks i, f, g, o. Overwritten with the gates' values.
    c_prev : (B, H)
    x : (B, 4H), optional
        Added to ``a`` first.

    Returns
    -------
    c, tanh_c, h : (B, H)
        The new state, and the hyperbolic tangent of c for the backward kernel.
    """
    return _kernel("lstm_gates", a)(a, c_prev, x)


def lstm_gates_backward(gates, c_prev, tanh_c, gc, gh):
    """Gradients of :func:`lstm_gates` from those of c and h, one of them may be None.

    Returns
    -------
    gz : (B, 4H)
        Gradient of the gate inputs.
    gc_prev : (B, H)
    """
    return _kernel("lstm_gates_backward", gates)(gates, c_prev, tanh_c, gc, gh)


def gru_gates(z, h, a):
    """Run what follows the product in one step of a GRU whose reset comes after it.

    Parameters
    ----------
    z, a : (B, 3H)
        The input's and the state's part of the gates in blocks r, u, n; z is
        overwritten with the gates' values.
    h : (B, H)

    Returns
    -------
    (B, H)
        The new state.
    """
    return _kernel("gru_gates", z)(z, h, a)


def gru_gates_backward(gy, gates, h, a):
    """Gradients of :func:`gru_gates`: of z and a (B, 3H), and of h but for a (B, H)."""
    return _kernel("gru_gates_backward", gates)(gy, gates, h, a)


def lstm_forward(z, h0, c0, U, mask=None):
    """Run an LSTM over a window of gate inputs.

    Parameters
    ----------
    z : (T, B, 4H)
        Gate inputs x W^T + b in blocks i, f, g, o. Overwritten with the gates'
        values, which :func:`lstm_backward` needs: the caller must own it.
    h0, c0 : (B, H)
        State before the window.
    U : (4H, H)
        Recurrent matrix; h U^T is added to z.
    mask : (T, B) bool, optional
        Where False, a step is padding: the state is carried over it as it was.

    Returns
    -------
    h, c : (T + 1, B, H)
        State before the window and after each step: ``h[1:]`` is the output, ``h[:-1]``
        is what U was multiplied by, ``c[-1]`` is carried on.
    """
    return _kernel("lstm_forward", z)(z, h0, c0, U, mask)


def lstm_backward(gh, gc_last, gates, c, U, mask=None):
    """Gradients of :func:`lstm_forward`.

    Parameters
    ----------
    gh : (T, B, H) or None
        Gradient of ``h[1:]``; the carried state's is added to the last step's.
    gc_last : (B, H) or None
        Gradient of ``c[-1]``.
    gates : (T, B, 4H)
        What became of z.
    c, U, mask
        As returned by and given to the forward kernel.

    Returns
    -------
    gz : (T, B, 4H)
        Gradient of the gate inputs; U's is product_weight(gz, h[:-1]) over all rows.
    gh0, gc0 : (B, H)
    """
    return _kernel("lstm_backward", gates)(gh, gc_last, gates, c, U, mask)


def gru_forward(z, h0, U, b=None, reset_after=False, mask=None):
    """Run a GRU over a window: h' = (1 - u) n + u h, with gates r and u.

    The candidate is n = tanh(z_n + (r h) U_n^T), or with ``reset_after``
    n = tanh(z_n + r (h U_n^T + b)).

    Parameters
    ----------
    z : (T, B, 3H)
        Gate inputs in blocks r, u, n. Overwritten with r, u and n.
    h0 : (B, H)
    U : (3H, H)
    b : (H,), optional
        Only with ``reset_after``.
    mask : (T, B) bool, optional
        Where False, the state is carried over the step as it was.

    Returns
    -------
    h : (T + 1, B, H)
        State before the window and after each step.
    inner : (T, B, H)
        r h, or with ``reset_after`` h U_n^T + b.
    """
    return _kernel("gru_forward", z)(z, h0, U, b, reset_after, mask)


def gru_backward(gh, gates, inner, h, U, reset_after=False, mask=None):
    """Gradients of :func:`gru_forward`; gh (T, B, H) is the gradient of ``h[1:]``.

    Returns
    -------
    gz : (T, B, 3H)
        Gradient of the gate inputs.
    ga : (T, B, 3H) or None
        With ``reset_after``, the gradient of h U^T + b: U's is
        product_weight(ga, h[:-1]), and b's is the sum of the last block. Without, those
        of U's blocks are product_weight(gz_ru, h[:-1]), product_weight(gz_n, inner).
    gh0 : (B, H)
    """
    return _kernel("gru_backward", gates)(gh, gates, inner, h, U, reset_after, mask)


def rnn_forward(z, h0, U, activation="tanh", mask=None):
    """Run h' = activation(z + h U^T) over a window; "tanh" or "relu".

    Parameters
    ----------
    z : (T, B, H)
    h0 : (B, H)
    U : (H, H)
    mask : (T, B) bool, optional
        Where False, the state is carried over the step as it was.

    Returns
    -------
    h : (T + 1, B, H)
        State before the window and after each step.
    """
    return _kernel("rnn_forward", z)(z, h0, U, activation, mask)


def rnn_backward(gh, h, U, activation="tanh", mask=None):
    """Gradients of :func:`rnn_forward`; gh (T, B, H) is the gradient of ``h[1:]``.

    Returns
    -------
    gz : (T, B, H)
        Gradient of z; U's is product_weight(gz, h[:-1]).
    gh0 : (B, H)
    """
    return _kernel("rnn_backward", h)(gh, h, U, activation, mask)


def matmul(a, b, out=None):
    """Multiply a (M, K) by b (K, N), on all threads if it is worth it."""
    return _kernel("matmul", a)(a, b, out)


def linear(x, W, b=None):
    """Return x W^T + b for x (N, I), W (V, I), b (V,) or None, as a new (N, V)."""
    return _kernel("linear", x)(x, W, b)


def product_input(gy, W, scale=None):
    """Return gy W, the gradient of a linear map's input.

    Parameters
    ----------
    gy : (N, V)
    W : (V, I)
    scale : (N,), optional
        Factors of the rows of gy that are not multiplied out: the gradient of a softmax
        cross entropy has them, and the result, or x below, is the smaller matrix.
    """
    return _kernel("product_input", gy)(gy, W, scale)


def product_weight(gy, x, scale=None):
    """Return gy^T x, the gradient (V, I) of a linear map's matrix.

    Parameters
    ----------
    gy : (N, V)
    x : (N, I)
    scale : (N,), optional
        Factors of the rows of gy.
    """
    return _kernel("product_weight", gy)(gy, x, scale)


def sum_rows(gy, scale=None):
    """Sum the rows of gy (N, V), each times its scale (N,): a bias' gradient (V,)."""
    return _kernel("sum_rows", gy)(gy, scale)


def softmax_cross_entropy(logits, t, ignore_label=-1, out=None):
    """Cross entropy of each row's softmax with its label, and what its gradient needs.

    Parameters
    ----------
    logits : (N, V), rows contiguous
    t : (N,) int
        Labels in 0..V-1, or ``ignore_label`` for rows with loss and gradient 0. On a
        device, any other makes the row's loss and inverse NaN.
    out : (N, V), optional
        Where to put e; may be ``logits`` if nobody needs them any more.

    Returns
    -------
    loss : (N,)
    e : (N, V)
        exp(logits), up to a factor per row, less the row's sum at its label.
    inverse : (N,)
        1 / the row's sum, 0 for ignored rows. With the gradient gy (N,) of the losses,
        the gradient of the logits is ``(inverse * gy)[:, None] * e``: better not
        multiplied out, see ``scale`` of :func:`product_input`.
    """
    return _kernel("softmax_cross_entropy", logits)(logits, t, ignore_label, out)


def mean_loss(loss, inverse, t, ignore_label=-1, divisor=None):
    """Add losses up over a divisor, by default the number of labels that count.

    Parameters
    ----------
    loss, inverse : (N,)
        As :func:`softmax_cross_entropy` returns them.
    t : (N,) int

    Returns
    -------
    mean : ()
    scale : (N,)
        ``inverse`` over the divisor: what the gradient of the mean is scaled by.
    """
    return _kernel("mean_loss", loss)(loss, inverse, t, ignore_label, divisor)


def linear_softmax_cross_entropy(x, W, b, t, ignore_label=-1):
    """Cross entropy of ``softmax(x W^T + b)``, the (N, V) matrix never being whole.

    Parameters
    ----------
    x : (N, I)
    W : (V, I)
    b : (V,) or None
    t : (N,) int
        Labels in 0..V-1, or ``ignore_label`` for rows with loss and gradient 0.

    Returns
    -------
    loss : (N,)
    log_total : (N,)
        Logarithm of each row's sum of exp(logits), for the backward kernel.
    """
    kernel = _kernel("linear_softmax_cross_entropy", x)
    return kernel(x, W, b, t, ignore_label)


def linear_softmax_cross_entropy_backward(gy, x, W, b, t, log_total, ignore_label=-1):
    """Gradients of :func:`linear_softmax_cross_entropy`; the product is done again.

    Parameters
    ----------
    gy : (N,)
        Gradient of the losses. The other arguments are as in the forward kernel.

    Returns
    -------
    gx : (N, I)
    gW : (V, I)
    gb : (V,)
    """
    kernel = _kernel("linear_softmax_cross_entropy_backward", x)
    return kernel(gy, x, W, b, t, log_total, ignore_label)


def sum_rows_by_id(ids, rows):
    """Sum the rows (N, H) that have the same id; any shape of ids with N elements.

    Returns
    -------
    ids : (M,)
        Each id once, ascending.
    rows : (M, H)
        Sums in the order of the rows, so that a run can be repeated bit by bit.
    """
    return _kernel("sum_rows_by_id", rows)(ids, rows)


def take_rows(W, ids, ignore_label=None):
    """Return rows of W (V, D) as (..., D), for ids of any shape (...).

    ``ignore_label`` takes a row of zeros. Ids are in 0..V-1; on a device, any other
    takes a row of NaN.
    """
    return _kernel("take_rows", W)(W, ids, ignore_label)


def add_rows_by_id(target, ids, rows):
    """Add rows (N, D) to ``target[ids]`` (V, D) in place, several to one id included.

    The order of the additions does not change from run to run, and a device is not
    waited for: there, rows of ids that are not in 0..V-1 are left out.
    """
    _kernel("add_rows_by_id", target)(target, ids, rows)


def squared_norm(x):
    """Return the sum of squares as a Python float (blocks are added up in float64)."""
    return _kernel("squared_norm", x)(x)


def sgd(x, gradient, rate):
    """Do ``x -= rate * gradient`` in place; a clip factor belongs into the rate."""
    _kernel("sgd", x)(x, gradient, rate)


def sgd_rows(x, ids, rows, rate):
    """Do ``x[ids] -= rate * rows`` in place; each id at most once."""
    _kernel("sgd_rows", x)(x, ids, rows, rate)


def clip(arrays, threshold):
    """Scale arrays in place so that their common L2 norm is at most ``threshold``.

    Where the norm is not finite they are all set to 0. A device is not waited for.

    Returns
    -------
    (len(arrays),) bool
        Which of the arrays have a norm that is not finite.
    """
    return _kernel("clip", arrays[0])(arrays, threshold)


def update(rule, numbers, items):
    """Apply an optimizer's rule to all parameters at once, if that is faster here.

    Parameters
    ----------
    rule : str
        The class of the optimizer.
    numbers : tuple of float
        What its formula needs, see there.
    items : list of (array, gradient, rate, states)
        A parameter and its state arrays, changed in place, by ``rate * gradient``.

    Returns
    -------
    bool
        False if nothing was done: there is no such kernel for these arrays.
    """
    return _kernel("update", items[0][0])(rule, numbers, items)


def dropout_mask(generator, shape, ratio, dtype=np.float32, like=None):
    """Draw a mask of 0 and 1 / (1 - p), p being ``ratio`` to the nearest 1 / 65536.

    Parameters
    ----------
    generator : numpy.random.Generator
        Over Philox. Every device draws the same numbers, and goes on with the same.
    like : array, optional
        The mask is where this array is; by default on the CPU.
    """
    kernel = plain.dropout_mask if like is None else _kernel("dropout_mask", like)
    return kernel(generator, shape, ratio, dtype, like)
