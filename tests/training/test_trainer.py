import functools
import math
import os
import time

import pytest

from dyrnn import Chain, extensions
from dyrnn.extensions import ExponentialShift
from dyrnn.functions import mean_squared_error
from dyrnn.iterators import SerialIterator
from dyrnn.links import Linear
from dyrnn.optimizers import SGD
from dyrnn.reporter import report
from dyrnn.serializers import load_npz, save_npz
from dyrnn.training import (
    PRIORITY_EDITOR,
    PRIORITY_READER,
    PRIORITY_WRITER,
    Extension,
    StandardUpdater,
    Trainer,
    make_extension,
)
from dyrnn.training.triggers import MinValueTrigger, OnceTrigger, StopTrigger
from tests.arrays import every_device, one_device, xp
from tests.training.toys import (
    FakeUpdater,
    language_trainer,
    parameters,
    regression_trainer,
)

pytestmark = every_device


def make(out, stop=(3, "iteration"), **options):
    return Trainer(FakeUpdater(**options), stop, out)


class Noting(Extension):
    """Writes down all that happens to it."""

    def __init__(self, notes, name="x", fails=()):
        self.notes, self.label, self.fails = notes, name, fails

    def _note(self, what):
        self.notes.append(f"{self.label} {what}")
        if what in self.fails:
            raise RuntimeError(f"{self.label} failed to {what}")

    def initialize(self, trainer):
        self._note("initialize")

    def __call__(self, trainer):
        self._note("call")

    def on_error(self, trainer, error, traceback):
        self._note(f"on_error {type(error).__name__}")

    def finalize(self):
        self._note("finalize")


def test_training_stops_at_its_end(tmp_path):
    trainer = make(tmp_path, (2, "epoch"), per_epoch=4)
    trainer.run()
    assert trainer.updater.iteration == 8
    trainer.run()
    assert trainer.updater.iteration == 8
    assert not trainer.is_before_training


def test_extensions_run_by_priority_then_in_order(tmp_path):
    notes = []
    trainer = make(tmp_path, (1, "iteration"))
    for name, priority in (
        ("first reader", PRIORITY_READER),
        ("second reader", None),
        ("editor", PRIORITY_EDITOR),
        ("writer", PRIORITY_WRITER),
    ):
        trainer.extend(lambda _, name=name: notes.append(name), name, None, priority)
    trainer.run()
    assert notes == ["writer", "editor", "first reader", "second reader"]


def test_triggers_of_equal_priority_are_asked_before_any_runs(tmp_path):
    trainer = make(tmp_path, (1, "iteration"))
    seen = []
    once = OnceTrigger()
    trainer.extend(lambda _: seen.append(once.finished), "first")
    trainer.extend(lambda _: None, "second", trigger=once)
    trainer.run()
    assert seen == [True]


def test_extension_sees_what_was_reported_in_this_iteration(tmp_path):
    seen = []
    trainer = make(tmp_path, values=lambda i: {"loss": i} if i != 2 else {})
    trainer.extend(lambda t: report({"twice": 2}), "writer", priority=PRIORITY_WRITER)
    trainer.extend(lambda t: seen.append(dict(t.observation)), "reader")
    trainer.run()
    assert seen == [{"loss": 1, "twice": 2}, {"twice": 2}, {"loss": 3, "twice": 2}]


def test_names_are_made_unique_by_a_suffix(tmp_path):
    trainer = make(tmp_path)

    def greet(trainer):
        pass

    for _ in range(3):
        trainer.extend(greet)
    trainer.extend(Noting([]))
    trainer.extend(Noting([]), name="greet")
    assert list(trainer.extensions) == [
        "greet",
        "greet_1",
        "greet_2",
        "Noting",
        "greet_3",
    ]
    assert trainer.get_extension("greet_1") is greet


def test_unknown_extension_lists_the_known_ones(tmp_path):
    trainer = make(tmp_path)
    with pytest.raises(KeyError, match="no extension 'LogReport'; it has: none"):
        trainer.get_extension("LogReport")
    trainer.extend(Noting([]))
    with pytest.raises(KeyError, match="it has: Noting"):
        trainer.get_extension("LogReport")


def test_extension_must_be_callable(tmp_path):
    with pytest.raises(TypeError, match="must be callable with the trainer, got 3"):
        make(tmp_path).extend(3)


def test_a_class_is_no_extension(tmp_path):
    with pytest.raises(TypeError, match=r"write trainer\.extend\(Noting\(\.\.\.\)\)"):
        make(tmp_path).extend(Noting)


@pytest.mark.parametrize("kind", [extensions.snapshot, extensions.observe_lr])
def test_extensions_without_parentheses_are_refused(tmp_path, kind):
    message = rf"write trainer\.extend\({kind.__name__}\(\.\.\.\)\)"
    with pytest.raises(TypeError, match=message):
        make(tmp_path).extend(kind)


def test_an_extension_may_take_any_arguments_and_return_anything(tmp_path):
    notes = []

    @make_extension()
    def marked(t=None):
        notes.append(t)

    class Bound:
        def __call__(self, t=None):
            notes.append(t)

        def method(self, t=None):
            notes.append(t)
            return self  # may be called, as a link may

    trainer = make(tmp_path, (1, "iteration"))
    trainer.extend(lambda *everything: notes.extend(everything))
    trainer.extend(lambda trainer=None: notes.append(trainer))
    trainer.extend(lambda t, others=notes: others.append(t))
    trainer.extend(functools.partial(lambda others, t: others.append(t), notes))
    for extension in (marked, Bound(), Bound().method):
        trainer.extend(extension)
    trainer.run()
    assert notes == 7 * [trainer]


def test_extension_without_call_says_so(tmp_path):
    trainer = make(tmp_path)
    trainer.extend(Extension())
    with pytest.raises(
        NotImplementedError, match="Extension: an extension must define"
    ):
        trainer.run()


def test_make_extension_sets_attributes(tmp_path):
    notes = []

    @make_extension(
        trigger=(2, "iteration"),
        default_name="hello",
        priority=7,
        initialize=lambda trainer: notes.append("initialize"),
        finalize=lambda: notes.append("finalize"),
        on_error=lambda *_: notes.append("error"),
    )
    def greet(trainer):
        notes.append(trainer.updater.iteration)

    trainer = Trainer(FakeUpdater(), (5, "iteration"), tmp_path, extensions=[greet])
    trainer.run()
    assert notes == ["initialize", 2, 4, "finalize"]
    assert list(trainer.extensions) == ["hello"]


def test_call_before_training_happens_once(tmp_path):
    notes = []
    trainer = make(tmp_path, (1, "iteration"))
    trainer.extend(
        lambda t: notes.append(t.updater.iteration), "x", call_before_training=True
    )
    trainer.run()
    assert notes == [0, 1]


def test_call_before_training_is_not_repeated_after_a_resume(tmp_path):
    notes = []

    class Note:
        def __call__(self, trainer):
            notes.append(trainer.updater.iteration)
            save_npz(tmp_path / "begun.npz", trainer)

        def serialize(self, s):
            pass  # or else a snapshot would hold the notes, too

    for resumes in (False, True):
        trainer = regression_trainer(tmp_path, (1, "iteration"))
        trainer.extend(Note(), "note", call_before_training=True)
        if resumes:
            load_npz(tmp_path / "begun.npz", trainer)
            notes.clear()
        trainer.stop_trigger = lambda _: True
        trainer.run()
        assert notes == ([] if resumes else [0])


def test_initialize_goes_up_and_finalize_down_the_priorities(tmp_path):
    notes = []
    trainer = make(tmp_path, (1, "iteration"))
    trainer.extend(Noting(notes, "low"), priority=1)
    trainer.extend(Noting(notes, "high"), priority=2)
    trainer.run()
    assert notes == [
        "low initialize",
        "high initialize",
        "high call",
        "low call",
        "high finalize",
        "low finalize",
    ]


def test_error_reaches_every_extension_and_all_are_finalized(tmp_path):
    notes = []
    trainer = make(tmp_path)
    trainer.extend(Noting(notes, "a", ["call", "on_error RuntimeError"]))
    trainer.extend(Noting(notes, "b", ["finalize"]))
    with pytest.raises(RuntimeError) as caught:
        trainer.run()
    assert notes[2:] == [
        "a call",
        "a on_error RuntimeError",
        "b on_error RuntimeError",
        "a finalize",
        "b finalize",
    ]
    chain, error = [], caught.value
    while error is not None:
        chain.append(str(error))
        error = error.__context__
    assert "a failed to call" in chain


def test_extension_whose_initialize_fails_is_finalized(tmp_path):
    notes = []
    trainer = make(tmp_path)
    trainer.extend(Noting(notes, fails=["initialize"]))
    with pytest.raises(RuntimeError, match="x failed to initialize"):
        trainer.run()
    assert notes == ["x initialize", "x on_error RuntimeError", "x finalize"]


def test_extension_may_add_another_when_initialized(tmp_path):
    notes = []

    class Adding(Extension):
        def initialize(self, trainer):
            trainer.extend(Noting(notes, "added"))

        def __call__(self, trainer):
            pass

    trainer = make(tmp_path, (2, "iteration"))
    trainer.extend(Adding())
    trainer.run()
    assert notes == ["added initialize", "added call", "added call", "added finalize"]


def test_unwritable_output_directory_is_found_before_training(tmp_path):
    (tmp_path / "file").write_text("in the way")
    trainer = make(tmp_path / "file")
    with pytest.raises(OSError, match="output directory cannot be written to.*file"):
        trainer.run()
    assert trainer.updater.iteration == 0
    trainer = make(tmp_path / "file" / "below")
    with pytest.raises(OSError, match="Choose another one: Trainer.* or --out"):
        trainer.run()


def test_output_directory_is_made_and_left_clean(tmp_path):
    make(tmp_path / "a" / "b").run()
    assert os.listdir(tmp_path / "a" / "b") == []


def test_elapsed_time_goes_on_after_a_resume(tmp_path):
    trainer = make(tmp_path, (2, "iteration"))
    trainer.extend(lambda _: time.sleep(0.01), "slow")
    assert trainer.elapsed_time == 0
    trainer.run()
    first = trainer.elapsed_time
    assert first >= 0.02
    assert trainer.elapsed_time == first
    save_npz(tmp_path / "trainer.npz", trainer)
    resumed = make(tmp_path, (3, "iteration"))
    resumed.extend(lambda _: time.sleep(0.01), "slow")
    load_npz(tmp_path / "trainer.npz", resumed)
    assert resumed.elapsed_time == first
    resumed.run()
    assert resumed.updater.iteration == 3
    assert first + 0.01 <= resumed.elapsed_time


def test_links_report_under_their_paths(tmp_path):
    trainer = language_trainer(tmp_path)
    model = trainer.updater.get_optimizer().target
    assert trainer.reporter.name_of(model) == "main"


def test_stop_trigger_sees_the_last_observation_after_a_resume(tmp_path):
    def losing(iteration):
        return {"loss": 10.0 - iteration}

    class Stop(MinValueTrigger):
        def __call__(self, trainer):
            if trainer.updater.iteration == 0:
                return False
            return super().__call__(trainer) and self.best_value <= 5.0

    def build():
        trainer = make(tmp_path, Stop("loss", (1, "iteration")), values=losing)
        return trainer

    trainer = build()
    trainer.extend(
        lambda t: save_npz(tmp_path / "s.npz", t), "save", (4, "iteration"), -100
    )
    trainer.run()
    assert trainer.updater.iteration == 5
    resumed = build()
    load_npz(tmp_path / "s.npz", resumed)
    assert resumed.updater.iteration == 4
    resumed.run()
    assert resumed.updater.iteration == 5
    assert resumed.stop_trigger.best_value == 5.0


@one_device("a device is not waited for")
@pytest.mark.parametrize("window", [False, True])
def test_loss_that_is_not_finite_stops_before_the_update(tmp_path, window):
    trainer = language_trainer(tmp_path, window=window)
    model = trainer.updater.get_optimizer().target

    def spoil(trainer):
        if trainer.updater.iteration == 2:
            model.V.array[0, 0] = math.inf
            before.update(parameters(trainer))

    before = {}
    trainer.extend(spoil, "spoil")
    with pytest.raises(ArithmeticError, match="in iteration 3: .*(NaN|nan)"):
        trainer.run()
    for name, array in parameters(trainer).items():
        xp.testing.assert_array_equal(array, before[name])


def test_endless_trainer_needs_no_stop_trigger(tmp_path):
    trainer = make(tmp_path, stop=None)

    def stop(trainer):
        if trainer.updater.iteration == 5:
            raise KeyError("enough")

    trainer.extend(stop)
    with pytest.raises(KeyError, match="enough"):
        trainer.run()


def test_a_finished_run_that_starts_again_says_so(tmp_path, capsys):
    trainer = Trainer(FakeUpdater(), (3, "iteration"), tmp_path)
    trainer.run()
    assert "nothing to do" not in capsys.readouterr().err
    trainer.run()
    error = capsys.readouterr().err
    assert "nothing to do: training was over after iteration 3; a later stop" in error
    trainer.stop_trigger = StopTrigger(4, "iteration")
    trainer.run()
    assert trainer.updater.iteration == 4
    assert "nothing to do" not in capsys.readouterr().err


class TestChangedPrograms:
    """What a resumed program sets otherwise is told: the snapshot's value holds."""

    @staticmethod
    def build(tmp_path, lr=0.1, frozen=(), schedule=False, factor=None):
        model = Chain(a=Linear(1, 2), b=Linear(2, 1))
        for name in frozen:
            model[name].disable_update()
        optimizer = SGD(0.1).setup(model)
        if factor is not None:
            optimizer.scale("/a/*", lr=factor)
        optimizer.lr = lr  # a program may do so after setup
        points = [(xp.ones(1, "f4"), xp.ones(1, "f4"))] * 4
        updater = StandardUpdater(
            SerialIterator(points, 2, shuffle=False),
            optimizer,
            loss_func=lambda x, t: mean_squared_error(model.b(model.a(x)), t),
        )
        trainer = Trainer(updater, (4, "iteration"), tmp_path)
        if schedule:
            trainer.extend(ExponentialShift("lr", 0.5))
        return trainer

    @pytest.mark.parametrize(
        ("before", "after", "message"),
        [
            ({}, {"lr": 0.5}, "^lr is 0.5 in the program, but was 0.1 when the run"),
            ({"schedule": True}, {"lr": 0.5, "schedule": True}, "lr is 0.5 in the"),
            ({"frozen": "a"}, {}, "^/a is thawed in the program, but was frozen when"),
            ({}, {"frozen": "ab"}, "/b is frozen in the program, but was not when"),
            ({"factor": 0.5}, {}, r"^lr of /a/\* is 1.0 in the program, but was 0.5"),
            ({}, {"factor": 0.5}, r"^lr of /a/\* is 0.5 in the program, but was 1.0"),
        ],
    )
    def test_a_change_is_named(self, tmp_path, before, after, message):
        first = self.build(tmp_path, **before)
        first.run()
        save_npz(tmp_path / "s.npz", first)
        resumed = self.build(tmp_path, **after)
        with pytest.warns(UserWarning, match=message):
            load_npz(tmp_path / "s.npz", resumed)
        optimizer = resumed.updater.get_optimizer()
        saved = first.updater.get_optimizer().settings()
        for name, value in optimizer.settings().items():
            assert value == saved[name]

    @pytest.mark.parametrize("schedule", [False, True])
    def test_what_training_changed_is_no_change(self, tmp_path, schedule):
        first = self.build(tmp_path, frozen="a", schedule=schedule)
        first.run()
        optimizer = first.updater.get_optimizer()
        optimizer.target.enable_update()
        optimizer.lr /= 3
        save_npz(tmp_path / "s.npz", first)
        for _ in range(2):
            resumed = self.build(tmp_path, frozen="a", schedule=schedule)
            load_npz(tmp_path / "s.npz", resumed)
            assert resumed.updater.get_optimizer().lr == optimizer.lr
            assert resumed.updater.get_optimizer().target.a.update_enabled
            save_npz(tmp_path / "s.npz", resumed)
