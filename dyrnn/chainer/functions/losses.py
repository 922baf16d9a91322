"""Losses of classifiers, of regressions and of distributions."""

from functools import partial

from dyrnn import functions as core
from dyrnn.chainer import _backend, configuration
from dyrnn.chainer.bridging import bridge
from dyrnn.chainer.functions.nodes import are_alike, functions
from dyrnn.chainer.functions.products import checked_ids, embed_id
from dyrnn.chainer.utils import type_check
from dyrnn.chainer.variable import Variable, as_variable
from dyrnn.chainer.worlds import CoreNode, check_inputs
from dyrnn.functions import loss


def check_reduce(reduce, choices=("mean", "no")):
    """Raise ValueError for an unknown reduction."""
    if reduce not in choices:
        *names, last = map(repr, choices)
        raise ValueError(
            f"only {', '.join(names)} and {last} are valid for 'reduce', but "
            f"'{reduce}' is given"
        )


def _check_class_weight(weight):
    if weight is None:
        return
    if weight.ndim != 1:
        raise ValueError("class_weight.ndim should be 1")
    if weight.dtype.kind != "f":
        raise ValueError("The dtype of class_weight should be 'f'")
    if isinstance(weight, Variable):
        raise ValueError(
            "class_weight should be a numpy.ndarray or cupy.ndarray, "
            "not a chainer.Variable"
        )


def _check_labels(in_types):
    type_check._argname(in_types, ("x", "t"))
    x, t = in_types
    type_check.expect(x.dtype.kind == "f")
    if type_check.eval(t.dtype.kind) == "i":
        type_check.expect(
            t.ndim == x.ndim - 1,
            x.shape[0] == t.shape[0],
            x.shape[2:] == t.shape[1:],
        )
    else:
        type_check.expect(t.dtype.kind == "f", x.shape == t.shape)


class SoftmaxCrossEntropy(CoreNode):
    """Cross entropy of the softmax of ``x``; the labels are none of its inputs."""

    kind = loss.SoftmaxCrossEntropy
    cache_score = True

    @property
    def y(self):
        """The softmax; None if it is not wanted."""
        if not self.cache_score:
            return None
        return core.softmax(self.rule.saved[0], axis=-1).array


def _of_soft_targets(x, t, reduce, soft_target_loss):
    F = functions()
    log_y = F.log_softmax(x)
    if soft_target_loss == "kl-divergence":
        losses = F.sum(t * (_backend.get_array_module(t).log(t + 1e-7) - log_y), axis=1)
    else:
        losses = -F.sum(t * log_y, axis=1)
    return losses if reduce == "no" else F.sum(losses) / (x.size / x.shape[1])


def softmax_cross_entropy(
    x,
    t,
    normalize=True,
    cache_score=True,
    class_weight=None,
    ignore_label=-1,
    reduce="mean",
    enable_double_backprop=False,
    soft_target_loss="cross-entropy",
    *,
    use_cudnn=True,
):
    """Cross entropy of the softmax of ``x`` and labels (or probabilities) ``t``.

    It can always be differentiated twice. ``use_cudnn`` of version 1 does nothing.
    """
    if soft_target_loss not in ("cross-entropy", "kl-divergence"):
        raise ValueError("soft_target_loss must be 'cross-entropy' or 'kl-divergence'.")
    _check_class_weight(class_weight)
    check_reduce(reduce)
    x, t = as_variable(x), _backend.raw(t)
    if x.ndim == 2 and len(x) == 1 and t.shape == (1, 1):
        t = t.reshape(1)  # of one row, as before version 1 compared shapes
    check_inputs("SoftmaxCrossEntropy", _check_labels, x, t)
    if t.dtype.kind == "f":
        return _of_soft_targets(x, t, reduce, soft_target_loss)
    n_class = x.shape[1]
    if configuration.is_debug():
        if not (((t >= 0) & (t < n_class)) | (t == ignore_label)).all():
            raise ValueError(
                "Each label `t` need to satisfy "
                f"`0 <= t < x.shape[1] or t == {ignore_label}`"
            )
    t = checked_ids(t, n_class, ignore_label, ("label", "classes"))
    divisor = None if normalize else max(1, len(x))
    if class_weight is not None:
        class_weight = x.xp.asarray(class_weight, x.dtype)
    node = SoftmaxCrossEntropy(t, divisor, class_weight, ignore_label, reduce)
    node.cache_score = cache_score
    if x.ndim > 2:
        x = functions().rollaxis(x, 1, x.ndim)
    return node.apply((x,))[0]


def _check_binary(in_types):
    type_check._argname(in_types, ("x", "t"))
    x, t = in_types
    type_check.expect(x.dtype.kind == "f", t.dtype.kind == "i", x.shape == t.shape)


def sigmoid_cross_entropy(x, t, normalize=True, reduce="mean", *, use_cudnn=True):
    """Cross entropy of the sigmoid of ``x`` and labels 0, 1 or -1 (ignored).

    ``use_cudnn`` of version 1 does nothing.
    """
    check_reduce(reduce)
    function = partial(core.sigmoid_cross_entropy, normalize=normalize, reduce=reduce)
    return bridge(function, x, t, name="SigmoidCrossEntropy", check=_check_binary)


def _of_pair(function, name, inputs, names=("x0", "x1")):
    def check(in_types):
        are_alike(in_types, *names)

    return bridge(function, *inputs, name=name, check=check)


def mean_squared_error(x0, x1):
    """Mean of squared differences."""
    return _of_pair(core.mean_squared_error, "MeanSquaredError", (x0, x1))


def mean_absolute_error(x0, x1):
    """Mean of absolute differences."""
    return _of_pair(core.mean_absolute_error, "MeanAbsoluteError", (x0, x1))


def absolute_error(x0, x1):
    """Absolute differences."""
    return _of_pair(core.absolute_error, "AbsoluteError", (x0, x1))


def squared_error(x0, x1):
    """Squared differences."""
    return _of_pair(core.squared_error, "SquaredError", (x0, x1))


def squared_difference(x1, x2):
    """:func:`squared_error` by its older name."""
    return squared_error(x1, x2)


def huber_loss(x, t, delta, reduce="sum_along_second_axis"):
    """Squared near zero, linear from ``delta`` on."""
    check_reduce(reduce, ("sum_along_second_axis", "no"))
    function = partial(core.huber_loss, delta=delta, reduce=reduce)
    return _of_pair(function, "HuberLoss", (x, t), ("x", "t"))


def _check_hinge(in_types):
    type_check._argname(in_types, ("x", "t"))
    x, t = in_types
    type_check.expect(
        x.dtype.kind == "f",
        t.dtype.kind == "i",
        x.ndim == 2,
        t.ndim == 1,
        x.shape[0] == t.shape[0],
    )


def hinge(x, t, norm="L1", reduce="mean"):
    """``max(0, 1 - x)`` for the right class, ``max(0, 1 + x)`` for others."""
    if norm not in ("L1", "L2"):
        raise NotImplementedError("norm should be either 'L1' or 'L2'")
    check_reduce(reduce)
    function = partial(core.hinge, norm=norm, reduce=reduce)
    return bridge(function, x, t, name="Hinge", check=_check_hinge)


def _reduced(function, reduce, *inputs):
    check_reduce(reduce, ("sum", "mean", "no"))
    if len({_backend.raw(x).shape for x in inputs}) > 1:
        inputs = functions().broadcast(*inputs)
    name = function.__name__
    return bridge(partial(function, reduce=reduce), *inputs, name=name)


def gaussian_kl_divergence(mean, ln_var, reduce="sum"):
    """Divergence of normal distributions from the standard one."""
    return _reduced(core.gaussian_kl_divergence, reduce, mean, ln_var)


def bernoulli_nll(x, y, reduce="sum"):
    """Negative log-likelihood of bits whose logits are ``y``."""
    return _reduced(core.bernoulli_nll, reduce, x, y)


def gaussian_nll(x, mean, ln_var, reduce="sum"):
    """Negative log-likelihood of normal distributions."""
    return _reduced(core.gaussian_nll, reduce, x, mean, ln_var)


def black_out(x, t, W, samples, reduce="mean"):
    """Cross entropy of labels among samples, which are to be unlikely themselves.

    Parameters
    ----------
    x : Variable, (B, I)
    t : Variable or array, (B,), int
        The right labels.
    W : Variable, (V, I)
    samples : Variable or array, (B, S), int
        Wrong labels.
    reduce : {"mean", "no"}

    References
    ----------
    Ji, Vishwanathan, Satish, Anderson, Dubey, "BlackOut: Speeding up Recurrent Neural
    Network Language Models With Very Large Vocabularies", 2016.
    """
    check_reduce(reduce)
    F = functions()
    xp = _backend.get_array_module(_backend.raw(x))
    ids = xp.concatenate([_backend.raw(t)[:, None], _backend.raw(samples)], axis=1)
    scores = F.matmul(embed_id(ids, W), F.expand_dims(x, 2))
    log_p = F.log_softmax(F.reshape(scores, ids.shape))
    others = F.log1p(-F.exp(log_p[:, 1:]))
    losses = -(log_p[:, 0] + F.sum(others, axis=1))
    return F.mean(losses) if reduce == "mean" else losses
