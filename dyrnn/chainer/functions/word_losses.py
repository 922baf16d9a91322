"""Losses over large vocabularies, from a sample of the words."""

import numpy as np

from dyrnn.chainer import _backend
from dyrnn.chainer.functions.nodes import functions
from dyrnn.chainer.functions.products import embed_id
from dyrnn.chainer.utils import argument, type_check
from dyrnn.chainer.variable import as_variable
from dyrnn.chainer.worlds import check_inputs


def check_words(in_types):
    """Expect rows, the number of a word for each, and the words' weights."""
    type_check._argname(in_types, ("x", "t", "W"))
    x, t, w = in_types
    type_check.expect(
        x.dtype.kind == "f",
        x.ndim == 2,
        t.dtype == np.int32,
        t.ndim == 1,
        x.shape[0] == t.shape[0],
        w.dtype == x.dtype,
        w.ndim == 2,
    )


def negative_sampling(x, t, W, sampler, sample_size, reduce="sum", **kwargs):
    """Tell words from noise drawn by ``sampler``."""
    if reduce not in ("sum", "no"):
        raise ValueError(
            f"only 'sum' and 'no' are valid for 'reduce', but '{reduce}' is given"
        )
    (return_samples,) = argument.parse_kwargs(kwargs, ("return_samples", False))
    check_inputs("NegativeSamplingFunction", check_words, x, t, W)
    F = functions()
    x, t = as_variable(x), _backend.raw(t)
    xp = x.xp
    samples = sampler((t.shape[0], sample_size + 1))
    samples = xp.asarray(samples).astype(np.int32, copy=False)
    ignored = t == -1
    samples[:, 0] = xp.where(ignored, 0, t)
    w = embed_id(samples, W)
    score = F.sum(F.broadcast_to(F.expand_dims(x, 1), w.shape) * w, axis=2)
    sign = xp.full(score.shape, 1, x.dtype)
    sign[:, 0] = -1
    loss = F.sum(F.softplus(score * sign), axis=1) * (~ignored).astype(x.dtype)
    loss = F.sum(loss) if reduce == "sum" else loss
    return (loss, samples) if return_samples else loss
