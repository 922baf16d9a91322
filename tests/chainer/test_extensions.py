"""Extensions of the trainer."""

import importlib.util
import io
import json
import os
import re
from types import SimpleNamespace

import numpy as np
import pytest

from dyrnn import chainer
from dyrnn.chainer import iterators, serializers
from dyrnn.chainer.configuration import config, using_config
from dyrnn.chainer.serializers import DictionarySerializer, NpzDeserializer
from dyrnn.chainer.training import extensions, triggers
from dyrnn.chainer.training.extensions import snapshots, util
from tests.chainer.models import Model, examples, make_trainer
from tests.chainer.test_training import Steps


class Target:
    x = 8.0


def fake_trainer(target=None, out="."):
    updater = SimpleNamespace(
        iteration=0,
        epoch=0,
        epoch_detail=0.0,
        get_optimizer=lambda name: target,
    )
    return SimpleNamespace(
        updater=updater,
        observation={},
        out=str(out),
        elapsed_time=1.0,
        is_before_training=False,
    )


@pytest.mark.parametrize(
    ("shift", "expected"),
    [
        (extensions.ExponentialShift("x", 0.5), [8, 4, 2, 1]),
        (extensions.ExponentialShift("x", 0.5, init=4.0, target=1.5), [4, 2, 1.5, 1.5]),
        (extensions.ExponentialShift("x", 2, target=20), [8, 16, 20, 20]),
        (extensions.InverseShift("x", 1, 1), [8, 4, 8 / 3, 2]),
        (extensions.InverseShift("x", 1, -1, target=20), [8, 16, 20, 20]),
        (extensions.PolynomialShift("x", 1, 4), [8, 6, 4, 2]),
        (extensions.PolynomialShift("x", 1, 2, target=3.0), [8, 4, 3, 3]),
        (extensions.PolynomialShift("x", -1, 4, target=12.0), [8, 32 / 3, 12, 12]),
        (extensions.StepShift("x", 0.5, 2), [8, 8, 4, 4]),
        (extensions.StepShift("x", 2, 1, target=9), [8, 9, 9, 9]),
        (extensions.LinearShift("x", (1.0, 2.0), (1, 3)), [1, 1, 1.5, 2]),
        (extensions.MultistepShift("x", 0.5, [1, 3], 6.0), [6, 3, 3, 1.5]),
        (extensions.MultistepShift("x", 0.5, [2], None), [8, 8, 4, 4]),
        (extensions.WarmupShift("x", 0.0, 2, 8.0), [0, 4, 8, 8]),
        (extensions.WarmupShift("x", None, 2, 0.0), [8, 4, 0, 0]),
    ],
)
def test_shifts_follow_their_formulas(shift, expected):
    target = Target()
    trainer = fake_trainer(target)
    shift.initialize(trainer)
    values = [target.x]
    for _ in range(3):
        shift(trainer)
        values.append(target.x)
    np.testing.assert_allclose(values, expected)


@pytest.mark.parametrize(
    "make",
    [
        lambda: extensions.ExponentialShift("x", 0.5),
        lambda: extensions.LinearShift("x", (1.0, 2.0), (1, 3)),
        lambda: extensions.MultistepShift("x", 0.5, [1, 2], 6.0),
        lambda: extensions.WarmupShift("x", 0.0, 5, 8.0),
        lambda: extensions.StepShift("x", 0.5, 2, init=4.0),
    ],
)
def test_shifts_go_on_from_a_saved_state(make):
    def run(shift, n):
        target = Target()
        shift._optimizer = target
        shift.initialize(fake_trainer())
        for _ in range(n):
            shift(fake_trainer())
        return target.x

    first, second = make(), make()
    run(first, 1)
    saved = DictionarySerializer()
    first.serialize(saved)
    second._init = getattr(first, "_init", None)
    second.serialize(NpzDeserializer(saved.target))
    assert run(second, 2) == run(make(), 3)


def test_negative_rates_are_refused():
    with pytest.raises(ValueError, match="does not support negative rate"):
        extensions.ExponentialShift("x", -1)
    with pytest.raises(ValueError, match="does not support negative gamma"):
        extensions.InverseShift("x", -1, 1)


def test_log_report_takes_means_over_its_interval(tmp_path):
    trainer = fake_trainer(out=tmp_path)
    seen = []
    log = extensions.LogReport(
        ["a"], (2, "iteration"), seen.append, filename="log_{iteration}"
    )
    for i in range(1, 5):
        trainer.updater.iteration = i
        trainer.observation = {"a": np.float32(i), "b": 1.0}
        log(trainer)
    assert [(e["a"], e["iteration"]) for e in log.log] == [(1.5, 2), (3.5, 4)]
    assert seen == log.log and "b" not in seen[0]
    assert json.loads((tmp_path / "log_4").read_text()) == log.log
    assert sorted(os.listdir(tmp_path)) == ["log_2", "log_4"]
    saved = DictionarySerializer()
    log.serialize(saved)
    other = extensions.LogReport(["a"], (2, "iteration"))
    other.serialize(NpzDeserializer(saved.target))
    assert other.log == log.log
    old = {"_log": np.asarray("[]"), "_trigger/previous_iteration": np.asarray(1)}
    old["_trigger/previous_epoch_detail"] = np.asarray(1.0)
    with pytest.warns(UserWarning, match="statistics are not saved"):
        other.serialize(NpzDeserializer(old))


def test_print_report_is_a_table(tmp_path):
    out = io.StringIO()
    trainer = fake_trainer(out=tmp_path)
    report = extensions.PrintReport(["iteration", "a", "much longer name"], "Log", out)
    log = SimpleNamespace(log=[{"iteration": 1, "a": 0.123456789}])
    trainer.get_extension = {"Log": log}.get
    report(trainer)
    log.log.append({"iteration": 2})
    report(trainer)
    lines = out.getvalue().replace("\033[J", "").split("\n")
    assert lines[0] == "iteration   a           much longer name"
    assert lines[1] == "1           0.123457                    "
    assert lines[2] == "2                                       "
    inner = extensions.LogReport(trigger=(1, "iteration"))
    report = extensions.PrintReport(["iteration"], inner, io.StringIO())
    trainer.updater.iteration = 1
    report(trainer)
    assert len(inner.log) == 1
    saved = DictionarySerializer()
    report.serialize(saved)
    assert "_log_report/_log" in saved.target
    with pytest.raises(TypeError, match="log report has a wrong type"):
        extensions.PrintReport(["a"], 3, out)(trainer)


def test_progress_bar_shows_how_far_training_is():
    out = io.StringIO()
    bar = extensions.ProgressBar(update_interval=2, bar_length=10, out=out)
    steps = Steps()
    trainer = SimpleNamespace(
        updater=steps, stop_trigger=triggers.IntervalTrigger(2, "epoch")
    )
    for _ in range(4):
        steps.update()
        bar(trainer)
    bar.finalize()
    text = out.getvalue()
    assert "     total [####......] 40.00%\nthis epoch [########..] 80.00%\n" in text
    assert "         4 iter, 0 epoch / 2 epochs\n" in text
    assert re.search(r"iters/sec\. Estimated time to finish: 0:", text)
    assert text.count("\033[4A") == 2 and text.endswith("\033[J")
    out = io.StringIO()
    bar = extensions.ProgressBar((8, "iteration"), 1, out=out)
    bar(trainer)
    assert "     total [#########################......" in out.getvalue()


def test_scripts_make_progress_bars_of_their_own():
    class Bar(util.ProgressBar):
        def get_lines(self):
            return ["one\n", "two\n"]

    out = io.StringIO()
    bar = Bar(out=out)
    bar.update()
    bar.close()
    assert out.getvalue() == "\033[Jone\ntwo\n\033[2A\033[J"
    bar.update_speed(0, 0.0)
    iterations, epochs = bar.update_speed(10, 1.0)
    assert iterations == pytest.approx(10 * epochs)
    with pytest.raises(NotImplementedError):
        util.ProgressBar().get_lines()


def evaluator(**options):
    iterator = iterators.SerialIterator(examples(10), 4, repeat=False, shuffle=False)
    return extensions.Evaluator(iterator, Model(), **options)


def test_evaluator_reports_means_of_batches_in_test_mode():
    seen = []
    model = Model()
    model.add_hook = None

    def check(x, t):
        seen.append((len(x), config.train, config.enable_backprop))
        model(x, t)

    iterator = iterators.SerialIterator(examples(10), 4, repeat=False, shuffle=False)
    hooked = []
    test = extensions.Evaluator(
        iterator, model, device=-1, eval_hook=hooked.append, eval_func=check
    )
    result = test()
    assert hooked == [test] and test.device == chainer.get_device("@numpy")
    assert seen == [(4, False, False), (4, False, False), (2, False, False)]
    data = chainer.dataset.concat_examples(examples(10)[:])
    losses = [float(model(*[a[i : i + 4] for a in data]).array) for i in (0, 4, 8)]
    assert result["main/loss"] == pytest.approx(np.mean(losses), rel=1e-6)
    assert test() == result
    test.name = "validation"
    assert set(test()) == {"validation/main/loss"}
    assert test.get_target("main") is model is test.get_all_targets()["main"]
    assert test.get_iterator("main") is iterator is test.get_all_iterators()["main"]
    test.finalize()


def test_evaluator_warns_of_iterators_that_do_not_stop():
    iterator = iterators.SerialIterator(examples(4), 2)
    with pytest.warns(UserWarning, match="The `repeat` property of the iterator main"):
        extensions.Evaluator(iterator, Model())


def test_evaluator_copies_an_iterator_that_cannot_be_reset():
    class Once(chainer.dataset.Iterator):
        def __init__(self):
            self.batches = [examples(4)[:2]]

        def __next__(self):
            if not self.batches:
                raise StopIteration
            batch, self.batches = self.batches[0], []
            return batch

    test = extensions.Evaluator(Once(), Model())
    for _ in range(2):
        with pytest.warns(DeprecationWarning, match="does not have the reset method"):
            assert "main/loss" in test()


def test_evaluator_may_show_a_bar(capsys):
    evaluator(progress_bar=True)()
    assert "3it [" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore:Adam.lr has been renamed:DeprecationWarning")
def test_values_may_be_observed(tmp_path):
    trainer, _ = make_trainer(tmp_path, stop=(3, "iteration"))
    trainer.extend(extensions.observe_lr(), trigger=(3, "iteration"))
    watch = extensions.observe_value("twice", lambda t: 2 * t.updater.iteration)
    trainer.extend(watch, trigger=(3, "iteration"))
    trainer.run()
    assert trainer.observation["twice"] == 6 and trainer.observation["lr"] > 0


def test_micro_average_divides_sums():
    average = extensions.MicroAverage("hits", "n", "ratio", (2, "iteration"))
    trainer = fake_trainer()
    results = {}
    for i, (hits, n) in enumerate([(1, 2), (2, 8), (3, 4)], start=1):
        trainer.updater.iteration = i
        trainer.observation = {"hits": hits, "n": n}
        with chainer.Reporter().scope(results):
            average(trainer)
        trainer.observation = {}
        average(trainer)
    assert results == {"ratio": 0.3}
    saved = DictionarySerializer()
    average.serialize(saved)
    assert saved.target["_numerator"] == 3


def test_training_stops_at_numbers_that_are_not_finite(tmp_path):
    trainer, model = make_trainer(tmp_path, stop=(3, "iteration"))
    trainer.extend(extensions.FailOnNonNumber())
    model.l.W.array[0, 0] = np.inf
    with pytest.raises(RuntimeError, match="parameters diverge: parameters of 'main'"):
        with np.errstate(all="ignore"):
            trainer.run(show_loop_exception_msg=False)


def test_parameter_statistics_are_reported():
    model = Model()
    model.name = "net"
    model.cleargrads()
    for param in model.params():
        param.grad = np.full_like(param.array, 2.0)
    trainer = fake_trainer()
    results = {}
    statistics = extensions.ParameterStatistics(model, prefix="p")
    with chainer.Reporter().scope(results):
        statistics(trainer)
    assert results["p/net/l/W/data/mean"] == pytest.approx(model.l.W.array.mean())
    assert results["p/net/l/W/grad/max"] == 2


def test_snapshots_keep_the_newest(tmp_path):
    trainer, _ = make_trainer(tmp_path, stop=(5, "iteration"))
    trainer.extend(extensions.snapshot(n_retains=2), trigger=(1, "iteration"))
    trainer.run()
    found = [name for name in os.listdir(tmp_path) if name.startswith("snapshot")]
    assert sorted(found) == ["snapshot_iter_4", "snapshot_iter_5"]
    for i, name in enumerate(sorted(found)):
        os.utime(tmp_path / name, (i, i))
    fmt = "snapshot_iter_{.updater.iteration}"
    assert snapshots._find_latest_snapshot(fmt, tmp_path) == "snapshot_iter_5"
    assert snapshots._find_latest_snapshot("x{}", tmp_path) is None
    stale = list(snapshots._find_stale_snapshots(fmt, tmp_path, 1))
    assert stale == ["snapshot_iter_4"]


def test_snapshots_are_loaded_by_themselves(tmp_path, capsys):
    first, model = make_trainer(tmp_path, stop=(4, "iteration"))
    first.extend(extensions.snapshot(autoload=True), trigger=(4, "iteration"))
    with using_config("debug", True):
        first.run()
    assert "No snapshot file that matches snapshot_iter" in capsys.readouterr().out
    second, other = make_trainer(tmp_path, stop=(4, "iteration"))
    second.extend(extensions.snapshot(autoload=True), trigger=(4, "iteration"))
    with using_config("debug", True):
        second.run()
    assert "Snapshot loaded from" in capsys.readouterr().out
    np.testing.assert_array_equal(model.l.W.array, other.l.W.array)


def test_one_object_is_saved_on_a_condition_by_any_function(tmp_path):
    trainer, model = make_trainer(tmp_path, stop=(3, "iteration"))
    calls = []
    trainer.extend(
        extensions.snapshot_object(
            model,
            lambda trainer: f"model{trainer.updater.iteration}",
            lambda path, arrays: (
                calls.append((os.path.basename(path), set(arrays)))
                or serializers.save_npz(path, arrays)
            ),
            condition=lambda: trainer.updater.iteration != 2,
        ),
        trigger=(1, "iteration"),
    )
    trainer.run()
    assert calls == [("model1", {"l/W", "l/b"}), ("model3", {"l/W", "l/b"})]
    with pytest.raises(TypeError, match="savefun and writer arguments cannot be"):
        extensions.snapshot(print, writer=print)
    with pytest.raises(TypeError, match="argument 'nonsense'"):
        extensions.snapshot(nonsense=1)


def test_a_snapshot_is_made_of_an_error(tmp_path):
    trainer, _ = make_trainer(tmp_path)
    trainer.extend(extensions.snapshot(snapshot_on_error=True), trigger=(9, "epoch"))
    trainer.updater.update_core = lambda: 1 / 0
    with pytest.raises(ZeroDivisionError):
        trainer.run(show_loop_exception_msg=False)
    assert (tmp_path / "snapshot_iter_0").exists()


def test_a_writer_changes_the_name_when_all_is_written(tmp_path):
    seen = []

    def save(path, arrays):
        seen.append(os.listdir(tmp_path))
        serializers.save_npz(path, arrays)

    snapshots.SimpleWriter(save)("file", str(tmp_path), {"x": np.arange(2)})
    assert "file" not in seen[0] and os.listdir(tmp_path) == ["file"]
    with np.load(tmp_path / "file") as npz:
        assert npz["x"].tolist() == [0, 1]


def test_graph_of_the_loss_is_written_once(tmp_path):
    trainer, _ = make_trainer(tmp_path, stop=(2, "iteration"))
    trainer.extend(extensions.DumpGraph("main/loss", filename="graph.dot"))
    trainer.run()
    assert (tmp_path / "graph.dot").read_text().startswith("digraph graphname{")
    assert not config.keep_graph_on_report
    again = extensions.DumpGraph("x")
    saved = DictionarySerializer()
    again.serialize(saved)
    assert again._filename == "cg.dot" and "_flag_called" in saved.target
    again.initialize(None)
    with pytest.raises(TypeError, match="root value is not a Variable"):
        again(SimpleNamespace(observation={"x": 3}))
    assert again.trigger(None) and not again.trigger(None)


@pytest.fixture
def matplotlib():
    module = pytest.importorskip("matplotlib")
    module.use("Agg")


def test_reports_are_plotted(tmp_path, matplotlib):
    trainer, _ = make_trainer(tmp_path, stop=(4, "iteration"))
    seen = []
    plot = extensions.PlotReport(
        "main/loss",
        trigger=(2, "iteration"),
        postprocess=lambda figure, axes, summary: seen.append(axes.get_xlabel()),
        filename="loss.png",
    )
    trainer.extend(plot)
    trainer.run()
    assert (tmp_path / "loss.png").stat().st_size > 1000 and len(seen) == 2
    saved = DictionarySerializer()
    plot.serialize(saved)
    other = extensions.PlotReport(["main/loss"], file_name="loss.png")
    other.serialize(NpzDeserializer(saved.target))
    assert [x for x, _ in other._points["main/loss"]] == [2, 4]


def test_without_matplotlib_nothing_is_plotted(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.warns(UserWarning, match="matplotlib is not installed"):
        plot = extensions.PlotReport(["x"], trigger=(1, "iteration"))
    trainer = fake_trainer(out=tmp_path)
    trainer.updater.iteration = 1
    plot(trainer)
    assert not os.listdir(tmp_path)
    with pytest.warns(UserWarning, match="matplotlib is not installed"):
        assert not extensions.PlotReport.available()
