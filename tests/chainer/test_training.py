"""The trainer, its updaters and triggers, and training that goes on."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from dyrnn import chainer
from dyrnn.chainer import iterators, mn, optimizers, serializers, training
from dyrnn.chainer.serializers import DictionarySerializer, NpzDeserializer
from dyrnn.chainer.training import extensions, triggers
from tests.chainer.models import Model, examples, make_trainer


class Steps(training.Updater):
    """Counts; five iterations are an epoch."""

    def __init__(self, model=None, fails_at=None):
        self.iteration = 0
        self.fails_at = fails_at
        self.finalized = 0
        self.optimizer = optimizers.SGD().setup(model or Model())

    epoch_detail = property(lambda self: self.iteration / 5)
    previous_epoch_detail = property(lambda self: (self.iteration - 1) / 5)
    epoch = property(lambda self: self.iteration // 5)

    def get_all_optimizers(self):
        return {"main": self.optimizer}

    def get_optimizer(self, name):
        return self.optimizer

    def update(self):
        self.iteration += 1
        if self.iteration == self.fails_at:
            raise ArithmeticError("the loss is lost")

    def finalize(self):
        self.finalized += 1

    def serialize(self, serializer):
        self.iteration = serializer("iteration", self.iteration)


def fires(trigger, n=12, observe=None, steps=None):
    """Return the iterations at which a trigger fires."""
    steps = steps or Steps()
    trainer = SimpleNamespace(updater=steps, observation={}, elapsed_time=0)
    found = []
    for _ in range(n):
        steps.update()
        trainer.elapsed_time = steps.iteration
        trainer.observation = observe(steps.iteration) if observe else {}
        if trigger(trainer):
            found.append(steps.iteration)
    return found


def resumed(trigger, fresh, arrays=None):
    """Return ``fresh`` with the state of ``trigger``."""
    saved = DictionarySerializer()
    trigger.serialize(saved)
    target = (
        {k: np.copy(v) for k, v in saved.target.items()} if arrays is None else arrays
    )
    fresh.serialize(NpzDeserializer(target))
    return fresh


@pytest.mark.parametrize(
    ("trigger", "expected"),
    [
        ((3, "iteration"), [3, 6, 9, 12]),
        ((2.5, "iteration"), [3, 5, 8, 10]),
        ((1, "epoch"), [5, 10]),
        ((0.5, "epoch"), [3, 5, 8, 10]),
        (None, []),
        (lambda trainer: trainer.updater.iteration == 7, [7]),
        (triggers.ManualScheduleTrigger([2, 7, 99], "iteration"), [2, 7]),
        (triggers.ManualScheduleTrigger(1.3, "epoch"), [7]),
        (triggers.OnceTrigger(), [1]),
        (triggers.TimeTrigger(5), [6, 11]),
    ],
)
def test_triggers_fire_at(trigger, expected):
    assert fires(training.get_trigger(trigger)) == expected


@pytest.mark.parametrize("n", [1, 2, 4, 5, 7])
@pytest.mark.parametrize(
    "make",
    [
        lambda: triggers.IntervalTrigger(2, "iteration"),
        lambda: triggers.IntervalTrigger(0.7, "epoch"),
        lambda: triggers.ManualScheduleTrigger([2, 6], "iteration"),
        lambda: triggers.ManualScheduleTrigger([0.4, 1], "epoch"),
        lambda: triggers.TimeTrigger(3),
        lambda: triggers.OnceTrigger(),
        lambda: triggers.MaxValueTrigger("x", (2, "iteration")),
        lambda: triggers.MinValueTrigger("x", (1, "epoch")),
    ],
)
def test_triggers_go_on_from_a_saved_state(make, n):
    observe = lambda i: {"x": np.float32([0, 3, 1, 4, 2, 9, 8, 1, 0, 5, 7, 7, 7][i])}
    expected = fires(make(), observe=observe)
    trigger, steps = make(), Steps()
    first = fires(trigger, n, observe, steps)
    assert first + fires(resumed(trigger, make()), 12 - n, observe, steps) == expected


def test_saving_does_not_make_a_once_trigger_fire_again(tmp_path):
    trainer, _ = make_trainer(tmp_path, (6, "iteration"))
    fired = []
    trainer.extend(
        lambda t: fired.append(t.updater.iteration),
        name="once",
        trigger=triggers.OnceTrigger(call_on_resume=True),
    )
    trainer.extend(extensions.snapshot(), trigger=(2, "iteration"))
    trainer.run()
    assert fired == [1]


def test_extensions_have_the_names_of_chainers_files(tmp_path):
    trainer, _ = make_trainer(tmp_path)
    trainer.extend(extensions.snapshot())
    trainer.extend(extensions.snapshot_object(trainer, "trainer"))
    assert trainer.get_extension("_Snapshot_1").name == "_Snapshot_1"


@pytest.mark.filterwarnings("ignore:The previous value of:UserWarning")
def test_triggers_guess_what_old_snapshots_do_not_say():
    for trigger in (
        triggers.IntervalTrigger(2, "iteration"),
        triggers.IntervalTrigger(1, "epoch"),
    ):
        steps = Steps()
        fires(trigger, 3, steps=steps)
        with (
            pytest.warns(UserWarning, match="The previous value of iteration is not"),
            pytest.warns(UserWarning, match="previous value of epoch_detail is not"),
        ):
            resumed(trigger, trigger, arrays={})
        assert fires(trigger, 3, steps=steps) == (
            [4, 6] if trigger.period == 2 else [5]
        )
    trigger, steps = triggers.ManualScheduleTrigger([2], "iteration"), Steps()
    fires(trigger, 3, steps=steps)
    with pytest.warns(UserWarning, match="The flag of finished is not saved"):
        resumed(trigger, trigger, arrays={})
    assert not trigger.finished
    fires(trigger, 1, steps=steps)
    assert trigger.finished
    once = triggers.OnceTrigger(call_on_resume=True)
    with pytest.warns(UserWarning, match="The flag is not saved"):
        resumed(once, once, arrays={})
    assert fires(once) == [1] and once.finished


def test_units_other_than_epoch_and_iteration_are_refused():
    for kind in (triggers.IntervalTrigger, triggers.ManualScheduleTrigger):
        with pytest.raises(ValueError, match="must be either 'epoch' or 'iteration'"):
            kind(1, "second")
    assert str(triggers.IntervalTrigger(5, "epoch")) == "IntervalTrigger(5, 'epoch')"


def test_early_stopping_waits_for_its_patience(capsys):
    losses = [9, 5, 6, 4, 4, 5, 6, 7, 1, 1, 1, 1, 1]
    trigger = triggers.EarlyStoppingTrigger((1, "iteration"), "x", 3, verbose=True)
    assert fires(trigger, 7, lambda i: {"x": losses[i]})[:1] == [6]
    printed = capsys.readouterr().out
    assert "operator is less" in printed and "Epoch 1: early stopping" in printed
    assert trigger.get_training_length() == (100, "epoch")
    grows = triggers.EarlyStoppingTrigger((1, "iteration"), "accuracy", patients=2)
    assert fires(grows, 5, lambda i: {"accuracy": losses[i]})[:1] == [4]
    longest = triggers.EarlyStoppingTrigger(
        (1, "iteration"), "x", mode="max", max_trigger=(4, "iteration")
    )
    assert fires(longest, 5, lambda i: {"x": i}) == [4]
    with pytest.raises(TypeError, match="Both 'patience' and 'patients'"):
        triggers.EarlyStoppingTrigger(patience=1, patients=2)
    silent = triggers.EarlyStoppingTrigger((1, "iteration"), "x")
    with pytest.warns(UserWarning, match="x is not in observation"):
        assert fires(silent, 1) == []


def test_extensions_run_by_priority_under_unique_names(tmp_path):
    calls = []
    trainer = training.Trainer(Steps(), (2, "iteration"), out=str(tmp_path))

    @training.make_extension(
        trigger=(2, "iteration"), priority=training.PRIORITY_WRITER
    )
    def writer(trainer):
        calls.append("writer")

    def plain(trainer):
        calls.append(plain.name)

    class Own(training.Extension):
        priority = 1000

        def __call__(self, trainer):
            calls.append(self.name)

        def initialize(self, trainer):
            calls.append("initialize")

        def finalize(self):
            calls.append("finalize")

    own = Own()
    trainer.extend(plain)
    trainer.extend(writer)
    trainer.extend(own)
    trainer.extend(own, call_before_training=True)
    trainer.extend(lambda t: calls.append("low"), name="low", priority=-1)
    assert trainer.get_extension("Own") is own
    with pytest.raises(ValueError, match="extension nobody not found"):
        trainer.get_extension("nobody")
    trainer.run()
    once = ["Own_1", "Own_1"]
    assert calls == [
        "initialize",
        "initialize",
        "Own_1",
        *once,
        "plain",
        "low",
        *once,
        "writer",
        "plain",
        "low",
        "finalize",
        "finalize",
    ]
    assert trainer.updater.finalized == 1
    with pytest.raises(RuntimeError, match="cannot run training loop multiple times"):
        trainer.run()


def test_extensions_that_cannot_be_added():
    trainer = training.Trainer(Steps())
    nameless = type("Nameless", (), {"__call__": lambda self, trainer: None})()
    with pytest.raises(TypeError, match="name is not given for the extension"):
        trainer.extend(nameless)
    with pytest.raises(ValueError, match='the name "training" is prohibited'):
        trainer.extend(print, name="training")
    with pytest.raises(TypeError, match="unexpected keyword argument"):
        training.make_extension(nonsense=1)
    with pytest.raises(AttributeError, match="Extension object has no attribute x"):
        training.Extension().x  # noqa: B018
    with pytest.raises(NotImplementedError, match="must define __call__"):
        training.Extension()(trainer)
    with pytest.raises(RuntimeError, match="training has not been started yet"):
        trainer.elapsed_time  # noqa: B018


def test_errors_reach_extensions_and_the_caller(tmp_path, capsys):
    seen = []
    trainer = training.Trainer(Steps(fails_at=2), out=str(tmp_path))

    def on_error(trainer, error, tb):
        seen.append((error, tb))
        raise ValueError("handler fails, too")

    trainer.extend(training.make_extension(on_error=on_error)(lambda trainer: None))
    with pytest.raises(ArithmeticError, match="the loss is lost"):
        trainer.run()
    printed = capsys.readouterr().err
    assert "Exception in main training loop: the loss is lost" in printed
    assert "Exception in error handler: handler fails, too" in printed
    assert isinstance(seen[0][0], ArithmeticError) and seen[0][1] is not None
    assert trainer.updater.finalized == 1


def test_resumed_training_is_as_if_it_had_not_stopped(tmp_path):
    whole, model = make_trainer(tmp_path / "a")
    whole.run()
    first, _ = make_trainer(tmp_path / "b", stop=(7, "iteration"))
    first.extend(extensions.snapshot(), trigger=(7, "iteration"))
    first.run()
    second, other = make_trainer(tmp_path / "c")
    second.extend(extensions.snapshot(), trigger=(7, "iteration"))
    serializers.load_npz(tmp_path / "b/snapshot_iter_7", second)
    second.run()
    np.testing.assert_array_equal(model.l.W.array, other.l.W.array)
    assert model.l.W.update_rule.t == other.l.W.update_rule.t == 14

    def log(name):
        entries = json.loads((tmp_path / name / "log").read_text())
        return [{k: v for k, v in e.items() if k != "elapsed_time"} for e in entries]

    assert log("a") == log("c")
    assert second.elapsed_time > first.elapsed_time


def test_snapshots_have_chainers_keys(tmp_path):
    trainer, _ = make_trainer(tmp_path, stop=(1, "epoch"))
    trainer.extend(extensions.snapshot(filename="s.npz"))
    trainer.run()
    with np.load(tmp_path / "s.npz", allow_pickle=True) as npz:
        keys = set(npz.files)
    assert {
        "updater/model:main/l/W",
        "updater/optimizer:main/l/W/m",
        "updater/optimizer:main/epoch",
        "updater/iterator:main/order",
        "updater/iteration",
        "stop_trigger/previous_iteration",
        "extension_triggers/LogReport/previous_epoch_detail",
        "extensions/LogReport/_log",
        "extensions/LogReport/_summary/_names",
        "extensions/ExponentialShift/_t",
        "_snapshot_elapsed_time",
    } <= keys


@pytest.mark.parametrize("kind", [tuple, dict, list])
def test_standard_updater_takes_tuples_dictionaries_and_arrays(kind):
    model = Model()
    seen = []

    def convert(batch, device):
        x, t = chainer.dataset.concat_examples(batch)
        return {tuple: (x, t), dict: {"x": x, "t": t}, list: x}[kind]

    def loss(x, t=None):
        seen.append(t is None)
        return model(x, examples()[:4] and np.zeros((4, 2), np.float32))

    iterator = iterators.SerialIterator(examples(8), 4)
    optimizer = optimizers.SGD().setup(model)
    updater = training.StandardUpdater(
        iterator, optimizer, convert, loss_func=loss, device=-1, loss_scale=2.0
    )
    updater.update()
    updater.update()
    assert seen == [kind is list] * 2
    assert (updater.iteration, updater.epoch, optimizer.epoch) == (2, 1, 1)
    assert updater.is_new_epoch and updater.previous_epoch_detail == 0.5
    assert updater.device == updater.input_device == chainer.get_device("@numpy")
    assert updater.get_iterator("main") is iterator
    assert not updater.device >= 0


@pytest.mark.parametrize("device", [None, -1])
def test_an_updater_may_write_its_device(device):
    """As scripts of versions 2 to 5 do, whose updaters had a plain attribute."""

    class Unrolled(training.StandardUpdater):
        def __init__(self, iterator, optimizer, device):
            super().__init__(iterator, optimizer, device=None)
            self.device = device

        def update_core(self):
            batch = self.get_iterator("main").next()
            arrays = self.converter(batch, self.device)
            self.get_optimizer("main").update(model, *arrays)

    model = Model()
    iterator = iterators.SerialIterator(examples(4), 4)
    updater = Unrolled(iterator, optimizers.SGD().setup(model), device)
    updater.update()
    assert updater.device == updater.input_device
    assert updater.device is device or updater.device == chainer.get_device("@numpy")


def test_epochs_may_be_left_to_the_script():
    optimizer = optimizers.SGD().setup(Model())
    iterator = iterators.SerialIterator(examples(4), 4)
    updater = training.StandardUpdater(
        {"main": iterator},
        {"main": optimizer},
        input_device="@numpy",
        auto_new_epoch=False,
    )
    updater.update()
    assert optimizer.epoch == 0
    optimizer.new_epoch()


def test_updater_base_asks_for_methods():
    updater = training.Updater()
    assert updater.connect_trainer(None) is None
    for call in (
        updater.finalize,
        updater.update,
        updater.get_all_optimizers,
        lambda: updater.get_optimizer("main"),
        lambda: updater.serialize(None),
    ):
        with pytest.raises(NotImplementedError):
            call()


def test_chainermn_runs_in_one_process():
    comm = mn.create_communicator("naive")
    assert (comm.rank, comm.size, comm.intra_rank) == (0, 1, 0)
    assert comm.bcast_obj(3) == comm.allreduce(3) == comm.scatter([3]) == 3
    assert comm.gather_obj(3) == [3] and comm.allgather(3) == comm.alltoall([3]) == (3,)
    assert comm.gather(3) == (3,) and comm.split(0, 0) is comm
    optimizer = mn.create_multi_node_optimizer(optimizers.SGD(0.1), comm).setup(Model())
    optimizer.target.cleargrads()
    comm.bcast_data(optimizer.target)
    comm.multi_node_mean_grad(optimizer.target, zero_fill=True)
    assert not optimizer.target.l.W.grad.any()
    evaluator = object()
    assert mn.create_multi_node_evaluator(evaluator, comm) is evaluator
    part = mn.scatter_dataset([1, 2, 3], comm, shuffle=True, seed=0)
    assert sorted(part[:]) == [1, 2, 3] and mn.scatter_index(5, comm) == (0, 5)
    comm.finalize()
    with pytest.raises(RuntimeError, match="there is no other to send to"):
        comm.send(1, 1, 0)
    with pytest.raises(ValueError, match='Unrecognized communicator: "pigeon"'):
        mn.create_communicator("pigeon")
    with pytest.raises(TypeError, match="has no argument 'speed'"):
        mn.create_communicator("naive", speed=3)
    with pytest.raises(AttributeError, match="chainermn.links is not part of dyrnn"):
        mn.links  # noqa: B018


def test_all_is_finalized_and_the_results_kept_where_one_raises(tmp_path):
    class Bare:
        epoch = epoch_detail = 0
        is_new_epoch = False

        def next(self):
            return [np.ones(2, np.float32)]

    class Failing(training.Extension):
        def __call__(self, trainer):
            pass

        def finalize(self):
            raise OSError("no more")

    model = chainer.Sequential(chainer.links.Linear(2, 1), chainer.functions.sum)
    optimizer = chainer.optimizers.SGD().setup(model)
    trainer = training.Trainer(
        training.StandardUpdater({"main": Bare()}, optimizer),
        (1, "iteration"),
        str(tmp_path),
    )
    finalized = []
    trainer.extend(Failing())
    last = training.make_extension(finalizer=lambda: finalized.append(1))
    trainer.extend(last(lambda trainer: None), name="last")
    with pytest.raises(OSError, match="no more"):
        trainer.run()
    assert finalized == [1]
    with pytest.raises(RuntimeError, match="multiple times"):
        trainer.run()


@pytest.mark.parametrize("name", ["PMI_SIZE", "OMPI_COMM_WORLD_SIZE"])
def test_several_processes_are_refused_before_each_trains_alone(name, monkeypatch):
    monkeypatch.setenv(name, "1")
    assert mn.create_communicator("naive").size == 1
    monkeypatch.setenv(name, "2")
    monkeypatch.setattr(mn, "world_size", lambda: 1)
    with pytest.raises(RuntimeError, match="2 processes were started, but MPI knows 1"):
        mn.create_communicator("naive")
