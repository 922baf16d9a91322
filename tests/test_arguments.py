"""Arguments that are numbers, given as something else, are refused by name."""

from typing import Any

import numpy as np
import pytest

import dyrnn
import dyrnn.links as L
from dyrnn import extensions as E
from dyrnn import iterators as I
from dyrnn import optimizers as O
from dyrnn import training
from dyrnn.datasets import SeriesWindows
from dyrnn.training import triggers as T

H = dyrnn.optimizer_hooks
DATA = [(1, 2)] * 10
IDS = np.arange(90)


def average(**given):
    return E.WeightAverage(L.Linear(2, 1), **given)


def scaled(**given):
    O.Adam().setup(L.Linear(2, 1)).scale("/W", **given)


def extended(**given):
    updater = training.StandardUpdater(
        I.SerialIterator(DATA, 5), O.SGD().setup(L.Linear(2, 1))
    )
    training.Trainer(updater).extend(E.LogReport(), **given)


def of_lr(kind):
    return lambda **given: kind("lr", **given)


# What is called, and numbers that it takes.
CALLS: dict[str, Any] = {
    "exponential": (of_lr(E.ExponentialShift), {"rate": 0.5, "init": 1.0, "target": 2}),
    "inverse": (of_lr(E.InverseShift), {"gamma": 1.0, "power": 1}),
    "cosine": (of_lr(E.CosineShift), {"max_count": 3, "target": 0.0}),
    "cycle": (
        of_lr(E.OneCycleShift),
        {"max_count": 3, "rise": 0.3, "start": 0.1, "end": 0.1},
    ),
    "polynomial": (of_lr(E.PolynomialShift), {"rate": 1.0, "max_count": 3}),
    "step": (of_lr(E.StepShift), {"gamma": 0.5, "step": 2}),
    "warmup": (of_lr(E.WarmupShift), {"warmup_start": 0.1, "warmup_iter": 3}),
    "plateau": (of_lr(E.ReduceOnPlateau), {"factor": 0.5, "patience": 1}),
    "average": (average, {"decay": 0.9}),
    "bar": (E.ProgressBar, {"update_interval": 10}),
    "snapshot": (E.snapshot, {"n_retains": 2}),
    "early": (T.EarlyStoppingTrigger, {"patience": 3}),
    "time": (T.TimeTrigger, {"period": 3}),
    "clip": (H.GradientClipping, {"threshold": 1.0, "check_interval": 9}),
    "hard": (H.GradientHardClipping, {"lower": -1, "upper": 1.0}),
    "decay": (H.WeightDecay, {"rate": 0.1}),
    "lasso": (H.Lasso, {"rate": 0.1}),
    "noise": (H.GradientNoise, {"eta": 0.1}),
    "sgd": (O.SGD, {"lr": 0.1}),
    "adam": (O.Adam, {"lr": 0.1, "beta1": 0.9, "eps": 1e-8, "weight_decay_rate": 0.1}),
    "momentum": (O.MomentumSGD, {"lr": 0.1, "momentum": 0.9}),
    "scale": (scaled, {"lr": 0.5}),
    "priority": (extended, {"priority": 200}),
    "serial": (lambda **given: I.SerialIterator(DATA, **given), {"batch_size": 5}),
    "window": (
        lambda **given: I.WindowIterator(IDS, **given),
        {"batch_size": 4, "steps": 5},
    ),
    "series": (
        lambda **given: SeriesWindows(IDS * 1.0, **given),
        {"steps": 5, "horizon": 2, "stride": 1},
    ),
}
CASES = [(call, name) for call, (_, given) in CALLS.items() for name in given]


@pytest.mark.parametrize(("call", "name"), CASES)
def test_what_is_no_number_is_refused_with_the_argument(call, name):
    function, given = CALLS[call]
    function(**given)
    number = given[name]
    function(**{**given, name: np.array(number)[()]})  # a scalar of NumPy's
    owner = getattr(function, "__name__", call)
    for bad in ("x", "3", [number], {}, float("nan")):
        with pytest.raises((TypeError, ValueError)) as caught:
            function(**{**given, name: bad})
        text = str(caught.value)
        assert name in text or owner in text or "the rate" in text, text


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: E.LinearShift("lr", "ab", (0, 1)), "LinearShift: value_range"),
        (lambda: E.LinearShift("lr", (0, "b"), (0, 1)), "LinearShift: value_range"),
        (lambda: E.LinearShift("lr", (0, 1), 3), "LinearShift: time_range"),
        (lambda: E.LinearShift("lr", (0, 1), (0, 1, 2)), "time_range has two"),
        (lambda: E.MultistepShift("lr", 0.5, 3), "MultistepShift: step_value"),
        (lambda: T.EarlyStoppingTrigger(max_trigger=5), r"a pair like \(1, 'epoch'\)"),
        (lambda: training.Trainer(None), r"call Trainer\(updater"),
    ],
)
def test_what_is_no_pair_or_list_is_refused(call, told):
    with pytest.raises((TypeError, ValueError), match=told):
        call()
