"""What the parts of a training look like when they are printed."""

import numpy as np
import pytest

import dyrnn
import dyrnn.functions as F
import dyrnn.links as L
from dyrnn import datasets, extensions, iterators, optimizers, training
from dyrnn.training import triggers
from tests.arrays import every_device, xp
from tests.toys import variable

pytestmark = every_device

hooks = dyrnn.optimizer_hooks


def parts():
    model = L.Classifier(dyrnn.Sequential(L.LSTM(4, 4), L.Linear(None, 9)))
    optimizer = optimizers.Adam().setup(model)
    windows = iterators.WindowIterator(xp.arange(200) % 9, 4, 5)
    updater = training.BPTTUpdater(windows, optimizer, accumulate=2)
    trainer = training.Trainer(updater, (3, "epoch"))
    trainer.extend(extensions.LogReport())
    series = np.zeros((50, 2), np.float32)
    ours = [
        trainer,
        windows,
        optimizer,
        datasets.SeriesWindows(series, 5, 2, stride=3),
        datasets.TupleDataset([1, 2], [3, 4]),
        hooks.GradientClipping(1.0),
        hooks.WeightDecay(1e-4),
        hooks.GradientNoise(0.1),
        extensions.LogReport(trigger=(2, "epoch")),
        extensions.Evaluator(windows, model, name="test"),
        extensions.snapshot(n_retains=2),
        extensions.snapshot_object(model, "model.npz"),
        extensions.CosineShift("lr", 100),
        extensions.BestWeights(),
        triggers.EarlyStoppingTrigger(),
        triggers.MinValueTrigger("loss"),
        triggers.TimeTrigger(3),
        triggers.AnyTrigger((1, "epoch"), (3, "iteration")),
        training.get_trigger(lambda trainer: True),
        training.get_trigger(None),
        dyrnn.Parameter(None, name="W"),
    ]
    return ours


@pytest.mark.parametrize("number", range(len(parts())))
def test_a_part_is_shown_without_its_address_in_a_line(number):
    part = parts()[number]
    text = repr(part)
    assert "object at 0x" not in text and "\n" not in text
    assert type(part).__name__.strip("_") in text or "variable" in text


def test_what_is_told():
    texts = [repr(part) for part in parts()]
    assert "until StopTrigger(3, 'epoch')" in texts[0] and "LogReport" in texts[0]
    assert texts[1] == "<WindowIterator: batches of 4, 5 steps, 0.00 epochs>"
    assert "15 windows (5, 2), 3 steps apart, targets (2, 2)" in texts[3]
    assert texts[5] == "GradientClipping(threshold=1.0)"
    assert texts[8] == "LogReport(trigger=IntervalTrigger(2, 'epoch'))"
    assert "GradientClipping" not in texts[2]
    assert texts[-1] == "variable W(without a shape yet)"


def test_an_updater_tells_how_far_it_is():
    updater = parts()[0].updater
    text = repr(updater)
    assert "0 updates" in text and "2 batches each" in text and "Adam(lr=0.001" in text
    assert "steps" in text


def test_a_scalar_takes_a_format():
    assert f"{F.sum(variable(1.25, 1.0)):.3f}" == "2.250"


BAD_TRIGGERS = [
    (("2", "epoch"), TypeError, r"got \('2', 'epoch'\), but a number comes first"),
    (("epoch", 2), TypeError, r"the number comes first: \(2, 'epoch'\)"),
    ((None, "epoch"), TypeError, "such as"),
    ((True, "epoch"), TypeError, "such as"),
    ((2, "epoch", 3), TypeError, r"a pair like \(1, 'epoch'\)"),
    ((), TypeError, r"a pair like \(1, 'epoch'\)"),
    ("2 epoch", TypeError, r"a pair like \(1, 'epoch'\)"),
    ((2, "epochs"), ValueError, r"as in \(2, 'epoch'\)"),
    (([2], "epoch"), TypeError, "a number comes first"),
    (("two", "iteration"), TypeError, "integer"),
]


@pytest.mark.parametrize(("pair", "error", "told"), BAD_TRIGGERS)
@pytest.mark.parametrize("where", ["trainer", "extend", "early"])
def test_a_wrong_trigger_gets_help(pair, error, told, where):
    trainer = parts()[0]
    calls = {
        "trainer": lambda: training.Trainer(trainer.updater, pair),
        "extend": lambda: trainer.extend(lambda _: None, trigger=pair),
        "early": lambda: triggers.EarlyStoppingTrigger(check_trigger=pair),
    }
    with pytest.raises(error, match=told):
        calls[where]()
