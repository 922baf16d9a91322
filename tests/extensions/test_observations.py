import io
import math
import sys

import numpy as np
import pytest

from dyrnn import extensions as E
from dyrnn.errors import NonFiniteError
from dyrnn.serializers import load_npz, save_npz
from dyrnn.training import Trainer
from tests.arrays import every_device, host
from tests.training.toys import FakeUpdater, language_trainer, regression_trainer

pytestmark = every_device


def make(out, stop=6, values=None):
    return Trainer(FakeUpdater(3, values), (stop, "iteration"), out)


def observed(trainer, key, priority=-1):
    seen = []
    trainer.extend(lambda t: seen.append(t.observation.get(key)), priority=priority)
    trainer.run()
    return seen


def test_learning_rate_is_that_of_the_update(tmp_path):
    trainer = make(tmp_path, 3)
    trainer.extend(E.ExponentialShift("lr", 0.5))
    trainer.extend(E.observe_lr())
    assert observed(trainer, "lr") == [1.0, 0.5, 0.25]


def test_any_value_can_be_observed(tmp_path):
    trainer = make(tmp_path, 3)
    trainer.extend(E.observe_value("twice", lambda t: 2 * t.updater.iteration))
    assert observed(trainer, "twice") == [2, 4, 6]


def micro_trainer(out, stop, losses=None):
    values = {1: (1, 2), 2: (0, 10), 3: (3, 4), 4: (0, 0), 5: (0, 0), 6: (0, 0)}
    trainer = make(
        out, stop, lambda i: dict(zip(("right", "all"), values[i], strict=True))
    )
    trainer.extend(E.MicroAverage("right", "all", "accuracy"))
    return trainer


def test_micro_average_divides_sums(tmp_path):
    seen = observed(micro_trainer(tmp_path, 6), "accuracy")
    assert seen[2] == pytest.approx(4 / 16)
    assert math.isnan(seen[5])
    assert seen[0] is None


def test_micro_average_goes_on_when_loaded(tmp_path):
    trainer = micro_trainer(tmp_path, 2)
    trainer.run()
    save_npz(tmp_path / "s.npz", trainer)
    resumed = micro_trainer(tmp_path, 3)
    load_npz(tmp_path / "s.npz", resumed)
    assert observed(resumed, "accuracy") == [pytest.approx(4 / 16)]


def test_statistics_of_parameters_and_gradients(tmp_path):
    trainer = regression_trainer(tmp_path, (1, "iteration"))
    model = trainer.updater.get_optimizer().target
    trainer.extend(E.ParameterStatistics(model, prefix="p", trigger=(1, "iteration")))
    found = {}
    trainer.extend(lambda t: found.update(t.observation), priority=-1)
    trainer.run()
    W, gW = host(model.W.array), host(model.W.grad)
    assert float(found["p/Regression/W/data/mean"]) == pytest.approx(W.mean())
    assert float(found["p/Regression/W/data/max"]) == W.max()
    assert float(found["p/Regression/W/data/min"]) == W.min()
    assert float(found["p/Regression/W/grad/std"]) == pytest.approx(gW.std())
    assert float(found["p/Regression/W/grad/zeros"]) == 0


def test_statistics_may_be_chosen(tmp_path):
    trainer = regression_trainer(tmp_path, (1, "iteration"))
    trainer.extend(
        E.ParameterStatistics(
            [trainer.updater.get_optimizer().target],
            {"norm": lambda array: (array * array).sum() ** 0.5},
            report_grads=False,
            trigger=(1, "iteration"),
        )
    )
    found = {}
    trainer.extend(lambda t: found.update(t.observation), priority=-1)
    trainer.run()
    assert [key for key in found if key != "main/loss"] == ["Regression/W/data/norm"]


@pytest.mark.parametrize("device", [None, "@strict"])
def test_parameter_that_is_not_finite_is_named(tmp_path, device, synchronisations):
    trainer = language_trainer(tmp_path, device=device)
    model = trainer.updater.get_optimizer().target
    check = E.FailOnNonNumber()
    with synchronisations() as count:
        check(trainer)
    assert count() <= 1
    model.V.array[0, 0] = np.inf
    with pytest.raises(NonFiniteError, match="'main' are NaN or infinite.*0: /V$"):
        check(trainer)


def test_words_per_second_is_words_over_seconds_of_updates(tmp_path):
    trainer = language_trainer(tmp_path, (4, "iteration"))
    trainer.extend(E.WordsPerSecond())
    trainer.extend(E.LogReport(trigger=(4, "iteration")))
    seconds = []
    trainer.extend(lambda t: seconds.append(t.updater.update_time), "note")
    trainer.run()
    row = trainer.get_extension("LogReport").log[0]
    assert row["words_per_second"] == pytest.approx(4 * 3 * 4 / sum(seconds))


def test_words_per_second_needs_a_weight(tmp_path):
    trainer = make(tmp_path, values=lambda i: {"main/loss": 1.0})
    trainer.extend(E.WordsPerSecond())
    with pytest.raises(KeyError, match="'main/loss' was not reported with a weight"):
        trainer.run()


def test_progress_bar_goes_to_its_end(tmp_path):
    out = io.StringIO()
    trainer = Trainer(FakeUpdater(4), (2, "epoch"), tmp_path)
    trainer.extend(E.ProgressBar(update_interval=3, out=out))
    trainer.run()
    assert "2.00/2 epoch" in out.getvalue()
    assert "iteration 8" in out.getvalue()


def test_progress_bar_may_have_no_end(tmp_path):
    out = io.StringIO()
    trainer = make(tmp_path, 4)
    trainer.stop_trigger = lambda t: t.updater.iteration == 4
    trainer.extend(E.ProgressBar(out=out))
    trainer.run()
    assert "iteration 4" in out.getvalue()
    with pytest.raises(ValueError, match="update_interval must be at least 1, got 0"):
        E.ProgressBar(update_interval=0)


def test_progress_bar_is_silent_where_there_is_no_terminal(tmp_path, capfd):
    trainer = make(tmp_path)
    trainer.extend(E.ProgressBar())
    trainer.run()
    assert capfd.readouterr() == ("", "")
    assert not sys.stderr.isatty()
