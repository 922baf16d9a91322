"""The state of PyTorch's optimizers, so that a training goes on in the other library.

PyTorch's momentum buffer is ours divided by ``-lr``; Adam's two means are the same, and
AdamW's decay is ours divided by ``lr``. PyTorch adds eps to the corrected root and
:class:`dyrnn.optimizers.Adam` to the uncorrected one, which makes a difference only
where eps is not small beside the gradients.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dyrnn import optimizers
from dyrnn.errors import InterchangeError
from dyrnn.interchange.files import _torch
from dyrnn.interchange.layers import describe
from dyrnn.interchange.matching import Names, Source, match, packed
from dyrnn.interchange.systems import system
from dyrnn.interchange.trees import as_numpy
from dyrnn.link import Link
from dyrnn.optimizers.hooks import Penalty, WeightDecay
from dyrnn.optimizers.optimizer import Optimizer, State

_LARGEST_EPS = 1e-6
_NO_STATE = (
    "no state of an optimizer: give its state_dict(), with 'state' and 'param_groups'"
)
_NO_RATE = (
    "the momentum here has the learning rate in it, and PyTorch's has not: with lr=0 "
    "neither tells the other. Convert while lr is not 0."
)
# Of Adam: here and there.
_MEANS = {"m": "exp_avg", "v": "exp_avg_sq", "vhat": "max_exp_avg_sq"}


def load_optimizer(
    state: Any,
    optimizer: Optimizer,
    parameters: Sequence[str] | None = None,
    names: Names | None = None,
) -> None:
    """Take over what an optimizer of PyTorch has gathered, and its settings.

    Parameters
    ----------
    state : dict or torch.optim.Optimizer
        The ``state_dict()`` of SGD (with momentum, Nesterov's too), Adam or AdamW.
    optimizer : Optimizer
        :class:`SGD`, :class:`MomentumSGD`, :class:`NesterovAG`, :class:`Adam` or
        :class:`AdamW`, after ``setup(model)``.
    parameters : sequence of str, optional
        ``[name for name, _ in module.named_parameters()]``: PyTorch numbers them.
        Not needed if its optimizer was given ``named_parameters()``.
    names : dict, optional
        As in :func:`dyrnn.interchange.load`.

    Raises
    ------
    InterchangeError
        If the rules, settings or parameters differ. The optimizer is then as it was.
    """
    state = state.state_dict() if hasattr(state, "state_dict") else state
    group = _group(state)
    model = _model(optimizer)
    parameters = _parameters(state, parameters)
    _check_biases(model, parameters, names)
    numbers = _numbers(group, optimizer)
    entries = [state["state"].get(k, {}) for k in range(len(parameters))]
    steps = {int(e["step"]) for e in entries if "step" in e}
    if len(steps) > 1:
        raise InterchangeError(
            f"the parameters have been updated {min(steps)} to {max(steps)} times; "
            "a state in which all have been updated equally often is needed"
        )
    t = steps.pop() if steps else 0
    _check_eps(optimizer, numbers.get("eps", 0.0), numbers.get("beta2", 0.0), t)
    there = {"v": "momentum_buffer"} if "momentum" in numbers else _MEANS
    factor = -numbers["lr"] if "momentum" in numbers else 1.0
    arrays: dict[str, dict] = {}
    mine = dict(optimizer.states)
    if any(there.get(name) in e for e in entries for name in mine):
        for name in mine:
            found = {
                path: as_numpy(entry[there[name]])
                for path, entry in zip(parameters, entries, strict=True)
                if entry.get(there[name]) is not None
            }
            if not factor and any(array.any() for array in found.values()):
                raise InterchangeError(_NO_RATE)
            found = {path: array * factor for path, array in found.items()}
            arrays[name] = _taken(model, found, names)
        t = max(t, 1)
    for name, value in numbers.items():
        setattr(optimizer, name, value)
    optimizer.t = t
    paths = dict(model.namedparams())
    optimizer._states = {
        param: State(t, {name: arrays[name][path] for name in mine})
        for path, param in paths.items()
        if arrays or not mine
    }


def to_optimizer_state(
    optimizer: Any,
    like: Any,
    parameters: Sequence[str] | None = None,
    names: Names | None = None,
) -> dict:
    """Return what PyTorch's ``optimizer.load_state_dict`` takes.

    Parameters
    ----------
    optimizer : Optimizer
        After some updates.
    like : dict or torch.optim.Optimizer
        That which the state is for: one of the same rule, over the parameters of a
        module with the same layers.
    parameters, names
        As in :func:`load_optimizer`.
    """
    torch = _torch("the state of its optimizer")
    like = like.state_dict() if hasattr(like, "state_dict") else like
    group = _group(like)
    model = _model(optimizer)
    parameters = _parameters(like, parameters)
    _check_biases(model, parameters, names)
    is_momentum = isinstance(optimizer, optimizers.MomentumSGD)
    there = {"v": "momentum_buffer"} if is_momentum else _MEANS
    if is_momentum and not optimizer.lr:
        raise InterchangeError(_NO_RATE)
    _numbers(group, optimizer)  # of the same rule
    numbers = _settings_there(optimizer, group)
    _check_eps(
        optimizer,
        getattr(optimizer, "eps", 0.0),
        numbers.get("betas", [0, 0])[1],
        optimizer.t,
    )
    entries: list[dict] = [{} for _ in parameters]
    for name in optimizer.states if optimizer._states else ():
        factor = -1.0 / optimizer.lr if is_momentum else 1.0
        shadow = model.copy("copy")
        for path, param in shadow.namedparams():
            original = dict(model.namedparams())[path]
            held = optimizer._states.get(original)
            param.array[...] = 0 if held is None else held.arrays[name] * factor
        arrays, _ = packed(shadow, system("torch"), names)
        for entry, path in zip(entries, parameters, strict=True):
            entry[there[name]] = torch.from_numpy(arrays[path])
            if not is_momentum:
                entry["step"] = torch.tensor(float(optimizer.t))
    groups = [{**each, **numbers} for each in like["param_groups"]]
    return {"state": {k: e for k, e in enumerate(entries) if e}, "param_groups": groups}


def _model(optimizer: Optimizer) -> Link:
    if optimizer.target is None:
        raise InterchangeError("call optimizer.setup(model) first")
    return optimizer.target


def _group(state: Mapping) -> dict:
    """Return the settings, which all groups of parameters must share."""
    try:
        groups = [
            {k: v for k, v in each.items() if k not in ("params", "param_names")}
            for each in state["param_groups"]
        ]
        first = groups[0]
        is_whole = "state" in state and all(
            "params" in g for g in state["param_groups"]
        )
        is_whole &= "lr" in first and len(first.get("betas", (0, 0))) == 2
    except (TypeError, KeyError, IndexError, AttributeError) as error:
        raise InterchangeError(_NO_STATE) from error
    if not is_whole:
        raise InterchangeError(_NO_STATE)
    for other in groups[1:]:
        if other != first:
            raise InterchangeError(
                "groups of parameters with settings of their own have no counterpart"
            )
    return first


def _parameters(state, parameters):
    """Return the names of the parameters in the order of their numbers."""
    numbers = [k for each in state["param_groups"] for k in each["params"]]
    if parameters is None:
        named = [each.get("param_names", []) for each in state["param_groups"]]
        parameters = [name for each in named for name in each]
    parameters = [each[0] if type(each) is tuple else each for each in parameters]
    if not all(isinstance(name, str) for name in parameters):
        raise InterchangeError("parameters are names, those of named_parameters()")
    if len(parameters) != len(numbers) or numbers != list(range(len(numbers))):
        raise InterchangeError(
            f"the state is of {len(numbers)} parameters, and {len(parameters)} names "
            "are there; give parameters=[name for name, _ in module.named_parameters()]"
        )
    return parameters


def _check_biases(model, parameters, names):
    """Refuse a sum of two biases, each of which PyTorch moves, in place of both."""
    single = [
        layer
        for layer in describe(model)
        if layer.kind in ("lstm", "rnn") and "b_u" not in layer.parts
    ]
    if single and any("bias_hh" in name for name in parameters):
        raise InterchangeError(
            f"{single[0]} has one bias where PyTorch trains two, whose sum moves twice "
            "as fast. Create it with n_biases=2, and load the weights again."
        )


def _check_eps(optimizer, eps, beta2, t):
    if eps > _LARGEST_EPS and math.sqrt(1.0 - beta2**t) < 0.99:
        raise InterchangeError(
            f"{type(optimizer).__name__}: eps is {eps:g}, which PyTorch adds elsewhere "
            "in the formula; that makes a difference until update "
            f"{math.ceil(math.log(0.0199) / math.log(beta2))}, and this is {t}"
        )


def _numbers(group: Mapping, optimizer: Any) -> dict[str, float]:
    """Return the settings here, or say what has no counterpart."""
    refused = [key for key in ("maximize", "dampening") if group.get(key)]
    mine = type(optimizer).__name__
    decay = float(group.get("weight_decay", 0.0))
    lr = float(group["lr"])
    numbers: dict[str, float] = {"lr": lr}
    is_decoupled = _is_decoupled(group, optimizer)
    if "amsgrad" in group:  # NAdam, RAdam and Adamax have betas, too
        rules: tuple[str, ...] = ("Adam", "AdamW")
        numbers["beta1"], numbers["beta2"] = (float(beta) for beta in group["betas"])
        numbers["eps"] = float(group["eps"])
        if bool(group.get("amsgrad")) != bool(getattr(optimizer, "amsgrad", False)):
            refused.append("amsgrad")
        numbers["weight_decay_rate"] = lr * decay if is_decoupled else 0.0
        if getattr(optimizer, "eta", 1.0) != 1.0:
            refused.append("eta")
    elif "nesterov" in group:  # RMSprop has a momentum, too
        rules = ("NesterovAG",) if group.get("nesterov") else ("MomentumSGD",)
        rules = rules if group["momentum"] else ("SGD",)
        if group["momentum"]:
            numbers["momentum"] = float(group["momentum"])
    else:
        rules = ()
    if not rules:
        raise InterchangeError(
            "only states of SGD, Adam and AdamW convert; this is of a rule with "
            f"{', '.join(group)}"
        )
    if mine not in rules:
        expected = " or ".join(rules)
        raise InterchangeError(f"the state is of {expected}, but this is {mine}")
    if refused:
        raise InterchangeError(f"{mine}: {refused[0]} is set differently in PyTorch")
    _check_penalties(optimizer, 0.0 if is_decoupled else decay)
    return numbers


def _is_decoupled(group, optimizer):
    """Return whether a weight decay is AdamW's, beside the gradient and not in it."""
    is_adamw = isinstance(optimizer, optimizers.AdamW)  # older states do not say
    return "amsgrad" in group and group.get("decoupled_weight_decay", is_adamw)


def _check_penalties(optimizer, decay):
    """Refuse penalties that are other ones than PyTorch adds to its gradients."""
    found = [hook for hook in optimizer.hooks.values() if isinstance(hook, Penalty)]
    is_same = [isinstance(h, WeightDecay) and h.rate == decay for h in found]
    if is_same != [True] * bool(decay):
        shown = ", ".join(f"{type(h).__name__}({h.rate:g})" for h in found) or "no hook"
        want = (
            f"call optimizer.add_hook(dyrnn.optimizer_hooks.WeightDecay({decay:g}))"
            if decay and not found
            else f"the one hook WeightDecay({decay:g}) does the same"
            if decay
            else "call optimizer.remove_hook(name) first, and add_hook after it if "
            "this is what you want"
        )
        raise InterchangeError(
            f"PyTorch's optimizer has weight_decay={decay:g} to add to the gradient, "
            f"and {type(optimizer).__name__} has {shown}: {want}"
        )


def _settings_there(optimizer, group):
    """Return the settings of PyTorch's group."""
    lr = optimizer.lr
    numbers: dict[str, Any] = {"lr": lr}
    if isinstance(optimizer, optimizers.Adam):
        rate = optimizer.weight_decay_rate
        numbers |= {"betas": (optimizer.beta1, optimizer.beta2), "eps": optimizer.eps}
        is_decoupled = _is_decoupled(group, optimizer)
        if rate and not (is_decoupled and lr):
            raise InterchangeError(
                f"weight_decay_rate is {rate:g}, which PyTorch has as weight_decay * "
                "lr, "
                + ("and lr is 0" if is_decoupled else "in AdamW only; this is its Adam")
            )
        if is_decoupled:
            numbers["weight_decay"] = rate / lr if rate else 0.0
    if isinstance(optimizer, optimizers.MomentumSGD):
        numbers["momentum"] = optimizer.momentum
    return numbers


def _taken(model: Link, found: dict, names: Names | None) -> dict[str, np.ndarray]:
    """Return by path the arrays of a state, laid out as the model's parameters are."""
    shadow = model.copy("copy")
    own, tied = packed(model, system("torch"), names)
    others = {
        name: array
        for name, array in own.items()
        if name.endswith(("running_mean", "running_var"))
    }
    also = {name: found[kept] for name, kept in tied.items() if kept in found}
    source = Source({**others, **also, **found})
    match(shadow, source, system("torch"), names)
    device = model.device
    return {path: device.send(param.array) for path, param in shadow.namedparams()}
