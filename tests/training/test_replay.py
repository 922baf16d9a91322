"""Any past iteration again: the same state, nothing written, and what went wrong."""

import csv
import hashlib
import os
import re
import warnings
from pathlib import Path

import numpy as np
import pytest

import dyrnn
import dyrnn.functions as F
from dyrnn import extensions, optimizer_hooks, optimizers, random, training
from dyrnn.errors import NonFiniteError, SnapshotError
from dyrnn.iterators import MultithreadIterator, WindowIterator
from dyrnn.serializers import list_snapshots
from dyrnn.training import triggers
from dyrnn.training.replaying import report, worst_interval
from dyrnn.training.replaying.protection import untouched
from dyrnn.training.replaying.watching import _arrays
from tests.arrays import every_device, xp
from tests.training.toys import VOCABULARY, Recurrent, text
from tools.small_training import digest, language_updater, shuffled_updater

LENGTH = 24


def windows(optimizer):
    return language_updater(optimizer, window=True)


def steps(optimizer):
    return language_updater(optimizer, window=False)


def threads(optimizer):
    updater = shuffled_updater(optimizer)
    data = updater.get_iterator().dataset
    return training.StandardUpdater(
        MultithreadIterator(data, 4, n_threads=2), optimizer
    )


class Slower(training.Extension):
    """Changes training by a state of its own, and writes as an extension may."""

    def __init__(self):
        self.count = 0

    def __call__(self, trainer):
        self.count += 1
        trainer.updater.get_optimizer().lr *= 1 - 0.01 * (self.count % 3)
        with open(os.path.join(trainer.out, "count.txt"), "a") as file:
            print(self.count, file=file)
        print("a line on the screen")

    def serialize(self, s):
        self.count = s("count", self.count)


class Note:
    """Keeps a digest of each iteration, which is no state of the training."""

    def __init__(self, digests):
        self.digests = digests

    def __call__(self, trainer):
        self.digests[trainer.updater.iteration] = digest(trainer, with_file=False)

    def serialize(self, s):
        pass


def make(out, make_updater=windows, stop=LENGTH, n_retains=-1, digests=None, extra=()):
    """Return a trainer as a program builds it."""
    random.seed(1)
    optimizer = optimizers.Adam(0.01)
    updater = make_updater(optimizer)
    for hook in (
        optimizer_hooks.GradientClipping(0.5),
        optimizer_hooks.WeightDecay(0.01),
        optimizer_hooks.GradientNoise(0.01),
    ):
        optimizer.add_hook(hook)
    trainer = training.Trainer(updater, (stop, "iteration"), out)
    trainer.extend(Slower())
    trainer.extend(extensions.LogReport(trigger=(5, "iteration")))
    trainer.extend(
        extensions.snapshot(n_retains=n_retains, autoload=True, on_signal=True),
        trigger=(7, "iteration"),
    )
    for extension in extra:
        trainer.extend(extension)
    if digests is not None:
        trainer.extend(Note(digests), priority=-500)
    return trainer


def contents(folder):
    return {
        path.name: (
            hashlib.sha256(path.read_bytes()).hexdigest(),
            path.stat().st_mtime_ns,
        )
        for path in Path(folder).iterdir()
    }


@pytest.mark.parametrize("make_updater", [windows, steps, shuffled_updater, threads])
def test_a_replay_reaches_the_state_of_the_run_and_leaves_it_alone(
    tmp_path, make_updater, capsys
):
    digests = {}
    make(tmp_path, make_updater, digests=digests).run()
    before, here = contents(tmp_path), os.getcwd()
    capsys.readouterr()
    for first, last in ((3, 3), (11, 19), (24, 24)):
        again = {}
        replay = make(tmp_path, make_updater, digests=again).replay((first, last))
        assert replay.start_iteration == max(n for n in (0, 7, 14, 21) if n < first)
        assert all(digests[iteration] == again[iteration] for iteration in again)
        assert max(again) == min(-(-last // 5) * 5, LENGTH)
        assert [each.iteration for each in replay.figures] == [*range(first, last + 1)]
        assert replay.is_same and "the same run: " in str(replay)
    assert contents(tmp_path) == before and os.getcwd() == here
    assert capsys.readouterr().out == ""


def test_figures_are_those_of_the_update(tmp_path):
    make(tmp_path).run()
    arrays, gradients = {}, {}

    def look(trainer):
        model = trainer.updater.get_optimizer().target
        for path, param in model.namedparams():
            arrays[trainer.updater.iteration, path] = param.array.astype(float)
            gradients[path] = param.grad.astype(float)
        return 5

    (figures,) = make(tmp_path, extra=[look]).replay(10, [look]).figures
    assert figures.probes == {"look": 5}
    path = "/predictor/lstm/upward/W"
    norms, norm = figures.parameters[path], xp.linalg.norm
    assert norms.value == pytest.approx(norm(arrays[9, path]))
    assert norms.update == pytest.approx(norm(arrays[10, path] - arrays[9, path]))
    assert norms.gradient > norms.hooked == pytest.approx(norm(gradients[path]))
    assert figures.epoch == pytest.approx(120 / 61)
    (name, x), (_, t) = figures.batch
    assert name == "part 0, (T, B, ...)" and x.shape == (3, 4)
    assert (t[0] == x[1]).all()
    places = [each.place for each in figures.activations]
    assert places == [
        "/predictor/embed EmbedID",
        "/predictor/lstm LSTMWindow",
        "/predictor Dropout",
        "/predictor/out Linear",
        "/ SoftmaxCrossEntropy",
    ]
    embed, lstm, *_, loss = figures.activations
    assert (embed.size, lstm.size) == (3 * 4 * 5, 3 * 4 * 5)
    assert lstm.saturated == 0 and embed.saturated is None
    assert loss.mean == pytest.approx(figures.values["main/loss"])
    assert re.search(r"small_training.py:\d+$", embed.line)


def test_steps_and_windows_have_the_same_figures(tmp_path):
    found = []
    for name, make_updater in (("windows", windows), ("steps", steps)):
        random.seed(1)
        trainer = training.Trainer(
            make_updater(optimizers.SGD(0.1)), (3, "iteration"), tmp_path / name
        )
        trainer.updater.get_optimizer().target.predictor.dropout = 0.0
        (tmp_path / name).mkdir()
        decode = lambda ids: "".join(map(str, ids))
        found.append(trainer.replay(1, decode=decode).figures[0])
    first, second = found
    assert first.texts == second.texts and len(first.texts) == 4
    assert first.parameters.keys() == second.parameters.keys()
    for path, norms in first.parameters.items():
        assert norms.gradient == pytest.approx(second.parameters[path].gradient, 1e-5)
    by_link = [
        {row.place.split()[0]: (row.size, row.norm) for row in each.activations}
        for each in found
    ]
    for place in ("/predictor/embed", "/predictor/lstm", "/predictor/out"):
        assert by_link[0][place] == pytest.approx(by_link[1][place], 1e-5)


def test_old_iterations_start_from_the_beginning_in_a_new_trainer_only(tmp_path):
    trainer = make(tmp_path, n_retains=1)
    trainer.run()
    with pytest.raises(
        ValueError, match="no snapshot before iteration 3; the oldest is"
    ):
        trainer.replay(3)
    assert trainer.replay(23).is_same  # the snapshot has the state
    replay = make(tmp_path, n_retains=1).replay(3)
    assert (replay.start, replay.is_same) == (None, True)
    assert "replayed from its beginning" in str(replay)


def test_what_cannot_be_replayed_is_refused_or_said(tmp_path):
    trainer = make(tmp_path)
    trainer.run()
    for wrong in (0, (5, 4)):
        with pytest.raises(ValueError, match="they count from 1"):
            trainer.replay(wrong)
    for wrong in ("5", 5.0, (1, 2, 3), None):
        with pytest.raises(TypeError, match=r"write trainer.replay\(75\) or"):
            trainer.replay(wrong)
    with pytest.raises(TypeError, match="a probe is called with .* 'lr' is float"):
        trainer.replay(24, {"lr": 0.1})
    with pytest.raises(FileNotFoundError, match="there is no run to replay"):
        make(tmp_path / "none").replay(5)
    replay = trainer.replay((23, LENGTH + 5), digest)
    assert len(replay.figures) == 2 and replay.end == LENGTH
    assert f"the run ended after iteration {LENGTH}" in str(replay)
    trainer.world = object()
    with pytest.raises(ValueError, match="for one process"):
        trainer.replay(24)


def test_a_damaged_snapshot_is_passed_over_and_keeps_its_name(tmp_path):
    make(tmp_path).run()
    path = tmp_path / "snapshot_iter_00000014.npz"
    data = bytearray(path.read_bytes())
    data[300] ^= 1
    path.write_bytes(data)
    before = contents(tmp_path)
    with pytest.warns(UserWarning, match="snapshot passed over"):
        replay = make(tmp_path).replay(16)
    assert replay.start_iteration == 7 and replay.is_same
    assert contents(tmp_path) == before


def test_a_run_that_was_interrupted_and_resumed_is_replayed(tmp_path):
    def interrupt(trainer):
        if trainer.updater.iteration == 12 and not trainer.is_replay:
            os.kill(os.getpid(), 15)

    with pytest.raises(training.TrainingInterrupted):
        make(tmp_path, extra=[interrupt]).run()
    replay = make(tmp_path, extra=[interrupt]).replay(12)  # its row is half a one
    assert replay.is_same and replay.start_iteration == 7
    make(tmp_path).run()
    assert [s.iteration for s in list_snapshots(tmp_path)] == [7, 12, 14, 21]
    replay = make(tmp_path).replay(13)
    assert replay.is_same and replay.start_iteration == 12


def test_where_it_is_another_run_is_said(tmp_path):
    make(tmp_path).run()

    def changed(optimizer):
        updater = windows(optimizer)
        ids = updater.get_iterator().dataset
        ids[25] = (ids[25] + 1) % 7
        return updater

    replay = make(tmp_path, changed).replay(9)
    assert replay.is_same is False
    text = str(replay)
    assert "NOT THE SAME RUN" in text and "look for changes in the data" in text
    assert re.search(
        r"LogReport, iteration 10: main/loss is \S+ in the log and \S+ here", text
    )

    random.seed(1)
    trainer = make(tmp_path)
    random.seed(2)
    with pytest.raises(SnapshotError, match="seed is 1 in the file and 2 here"):
        trainer.replay(9)


def test_another_processor_is_named(tmp_path, monkeypatch):
    make(tmp_path).run()
    here = dyrnn.serializers.environment()
    for module in ("training.replaying.rerun", "extensions.snapshots"):
        monkeypatch.setattr(
            f"dyrnn.{module}.environment", lambda: {**here, "processor": "another"}
        )
    with pytest.warns(UserWarning, match="perhaps not bit by bit"):
        replay = make(tmp_path).replay(9)
    assert replay.is_same  # after all
    assert re.search("processor is .* in snapshot.*, 'another' here", str(replay))


def test_who_writes_into_the_run_is_refused_and_told_why(tmp_path):
    out = tmp_path / "run"
    make(out, stop=8).run()
    before = contents(out)
    log = out / "log.jsonl"

    def write(trainer):
        (out / "mine.txt").write_text("mine")

    with pytest.raises(
        PermissionError, match=r"a replay or dry run leaves .* as it is"
    ):
        make(out, extra=[write]).replay(8)
    for change in (
        lambda: log.open("a"),
        lambda: os.remove(log),
        lambda: os.rename(log, tmp_path / "log"),
        lambda: os.replace(__file__, log),
        lambda: (out / "folder").mkdir(),
        lambda: os.open(out / "mine.txt", os.O_CREAT | os.O_WRONLY),
        lambda: os.symlink(log, out / "link"),
    ):
        with untouched(out, tmp_path / "scratch"):
            with pytest.raises(PermissionError, match="trainer.is_replay says so"):
                change()
            log.read_text()
            os.makedirs(out, exist_ok=True)
            (tmp_path / "else.txt").write_text("elsewhere")
    assert contents(out) == before
    with log.open("a"):
        pass  # afterwards, all is as ever


def test_early_stopping_and_other_triggers_act_as_in_the_run(tmp_path):
    def stopping(out):
        trainer = make(out)
        trainer.stop_trigger = triggers.EarlyStoppingTrigger(
            (1, "iteration"), patience=3, max_trigger=(200, "iteration")
        )
        return trainer

    trainer = stopping(tmp_path)
    trainer.run()
    end = trainer.updater.iteration
    assert end < 60
    assert stopping(tmp_path).replay(end - 1).is_same
    replay = stopping(tmp_path).replay(end + 5)
    assert replay.figures == [] and f"ended after iteration {end}" in str(replay)


class Fragile(dyrnn.Chain):
    """A language model of which an operation can fail."""

    def __init__(self):
        super().__init__()
        with self.init_scope():
            self.inner = Recurrent(dtype=np.float32)
            self.scale = dyrnn.Parameter(xp.ones(VOCABULARY, np.float32))

    def forward(self, x, t):
        loss = self.inner(x, t)
        loss = loss + F.sum(F.exp(self.scale)) * 0.0  # the line of the exponential
        loss.count = t.size
        return loss


def fragile(out, bad=None, stop=20):
    random.seed(3)
    optimizer = optimizers.SGD(0.01).setup(Fragile())
    iterator = WindowIterator(text(401), 4, 5)
    updater = training.BPTTUpdater(iterator, optimizer, window=True)
    trainer = training.Trainer(updater, (stop, "iteration"), out)
    trainer.extend(extensions.LogReport(trigger=(4, "iteration")))
    trainer.extend(extensions.snapshot(), trigger=(6, "iteration"))
    if bad is not None:
        trainer.extend(bad, name="bad")
    return trainer


def spoil(trainer):
    if trainer.updater.iteration == 10:
        trainer.updater.get_optimizer().target.scale.array[2] = np.nan


@every_device
def test_a_parameter_that_ceases_to_be_finite_is_named_with_the_operation(tmp_path):
    with pytest.raises(NonFiniteError) as caught:
        fragile(tmp_path, spoil).run()
    assert caught.value.iteration == 11
    replay = fragile(tmp_path, spoil).replay(11)
    assert replay.error.iteration == 11 and replay.is_same
    assert replay.origin == [
        "parameter /scale is not finite since iteration 10, made so after the update, "
        "by an extension"
    ]
    said = str(replay)
    assert (
        "parameter /scale is not finite before the iteration, at 1 of 7 places" in said
    )
    line = next(
        number
        for number, each in enumerate(Path(__file__).read_text().splitlines(), 1)
        if each.endswith("# the line of the exponential")
    )
    assert (
        f"the first NaN of the forward pass: Exp, called at {__file__}:{line} in /, "
        "computed it; parameter /scale has NaN"
    ) in said


def test_a_gradient_that_is_not_finite_is_traced_to_its_operation(tmp_path):
    trainers = []

    class Break(dyrnn.FunctionHook):
        def backward_before(self, node):
            if type(node).__name__ == "Exp" and trainers[-1].updater.iteration + 1 == 9:
                node.saved = (node.saved[0] * np.float32(np.inf),)

    with Break(), np.errstate(invalid="ignore"):
        trainers.append(fragile(tmp_path))
        with pytest.raises(NonFiniteError, match="in iteration 9: the gradient"):
            trainers[-1].run()
        trainers.append(fragile(tmp_path))
        replay = trainers[-1].replay(9)
    assert "the first NaN of the backward pass: that of Exp, called at" in str(replay)
    assert replay.figures[0].parameters["/scale"].update is None


def test_the_data_is_named_that_is_not_finite(tmp_path):
    def updater(optimizer):
        updater = shuffled_updater(optimizer)
        updater.get_iterator().dataset[7][0][1] = np.nan
        return updater

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        with pytest.raises(NonFiniteError) as caught:
            make(tmp_path, updater).run()
        replay = make(tmp_path, updater).replay(caught.value.iteration)
    assert re.search(
        r"part 0, \(B, \.\.\.\) of the batch is not finite, at 1 of 12 places, the "
        r"first of them \[\d, 1\]",
        str(replay),
    )
    assert "the first NaN of the forward pass: Linear" in str(replay)


def test_batches_of_texts_and_with_the_time_first_are_shown(tmp_path):
    class Example(tuple):
        def collate(self, batch, device):
            return np.zeros((7, len(batch), 2), np.float32), np.zeros(len(batch))

    texts = [("4 May", "05-04"), ("1\nJune", "06-01")]
    found = report.decoded(_arrays([(False, texts)]), None)
    assert found == ["4 May | 05-04", r"1\nJune | 06-01"]
    names = [name for name, _ in _arrays([(False, [Example(), Example()])])]
    assert names == ["part 0, (T, B, ...)", "part 1, (B, ...)"]


def test_figures_of_a_range_are_a_table_and_a_picture(tmp_path):
    make(tmp_path / "run").run()
    replay = make(tmp_path / "run").replay((5, 9))
    replay.write_csv(tmp_path / "figures.csv")
    with open(tmp_path / "figures.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["iteration"] for row in rows] == list("56789")
    worst = replay.worst("gradient")
    assert worst.norm("gradient") == max(float(row["gradient norm"]) for row in rows)
    assert "/predictor/lstm LSTMWindow saturated" in rows[0]
    picture = pytest.importorskip("matplotlib.figure").Figure()
    replay.draw(picture)
    assert [len(axes.lines) > 0 for axes in picture.axes] == [True] * 3


def test_the_worst_interval_is_not_finite_or_rises_most(tmp_path):
    def interval(*losses):
        rows = [
            {"main/loss": loss, "iteration": 10 * (i + 1)}
            for i, loss in enumerate(losses)
        ]
        trainer = make(tmp_path)
        trainer.get_extension("LogReport").rows_in = lambda folder: rows
        return worst_interval(trainer)

    assert interval(9.0, 4.0, 5.0, 3.0)[:2] == (21, 30)
    assert interval(9.0, 4.0, 5.0, float("nan"), 1.0)[:2] == (31, 40)
    assert interval(9.0, 4.0)[:2] == (1, 10)
    with pytest.raises(ValueError, match="has no log with main/loss"):
        interval()
