import math

import pytest

from dyrnn.serializers import load_npz, save_npz
from dyrnn.training import get_trigger
from dyrnn.training.triggers import (
    AnyTrigger,
    BestValueTrigger,
    EarlyStoppingTrigger,
    IntervalTrigger,
    ManualScheduleTrigger,
    MaxValueTrigger,
    MinValueTrigger,
    NeverFire,
    OnceTrigger,
    StopTrigger,
    TimeTrigger,
)
from tests.arrays import every_device, one_device
from tests.training.toys import FakeUpdater, Scene, fired

pytestmark = every_device

LOSSES = {1: 5.0, 2: 3.0, 3: 4.0, 4: math.nan, 5: 2.0, 6: 2.0, 7: 9.0, 8: 1.0}


def test_interval_in_iterations():
    assert fired(IntervalTrigger(3, "iteration"), 10) == [3, 6, 9]


@pytest.mark.parametrize(
    ("period", "expected"),
    [(1, [3, 6, 9]), (2, [6]), (0.5, [2, 3, 5, 6, 8, 9]), (1 / 3, list(range(1, 10)))],
)
def test_interval_in_epochs(period, expected):
    assert fired(IntervalTrigger(period, "epoch"), 9, FakeUpdater(3)) == expected


def test_tenths_of_an_epoch_are_not_lost_to_rounding():
    found = fired(IntervalTrigger(0.1, "epoch"), 40, FakeUpdater(10))
    assert found == list(range(1, 41))


def test_interval_fires_once_where_an_update_passes_several():
    updater = FakeUpdater(per_epoch=0.4)
    assert fired(IntervalTrigger(1, "epoch"), 3, updater) == [1, 2, 3]


def test_interval_can_be_asked_twice():
    trigger, scene = IntervalTrigger(1, "iteration"), Scene().step()
    assert trigger(scene)
    assert trigger(scene)


def test_schedule_fires_at_its_points():
    assert fired(ManualScheduleTrigger([2, 5], "iteration"), 7) == [2, 5]
    assert fired(ManualScheduleTrigger([0.3, 2], "epoch"), 9) == [1, 6]
    assert fired(ManualScheduleTrigger(1, "epoch"), 9) == [3]


@one_device("no arrays")
@pytest.mark.parametrize(
    "make",
    [IntervalTrigger, StopTrigger, ManualScheduleTrigger],
    ids=lambda c: c.__name__,
)
def test_bad_intervals_are_refused(make):
    with pytest.raises(ValueError, match=rf"{make.__name__}.*positive.*\(0, 'epoch'\)"):
        make(0, "epoch")
    with pytest.raises(ValueError, match="positive"):
        make(-1, "iteration")
    with pytest.raises(ValueError, match="positive"):
        make(math.nan, "epoch")
    with pytest.raises(ValueError, match="unit 'batch' is not known.*epoch, iteration"):
        make(1, "batch")
    with pytest.raises(TypeError, match=r"must be an integer, got 2\.5"):
        make(2.5, "iteration")


def test_stop_trigger_fires_beyond_its_point_too():
    assert fired(StopTrigger(3, "iteration"), 5) == [3, 4, 5]
    assert fired(StopTrigger(1, "epoch"), 4) == [3, 4]
    assert StopTrigger(2, "epoch").get_training_length() == (2, "epoch")


def test_once_fires_once():
    assert fired(OnceTrigger(), 5) == [1]


@pytest.mark.parametrize("again", [False, True])
def test_once_may_fire_again_after_a_resume(tmp_path, again):
    trigger = OnceTrigger(call_on_resume=again)
    fired(trigger, 2)
    save_npz(tmp_path / "t.npz", trigger)
    loaded = OnceTrigger(call_on_resume=again)
    load_npz(tmp_path / "t.npz", loaded)
    assert fired(loaded, 2) == ([1] if again else [])


def test_never_fires():
    assert fired(NeverFire(), 3) == []


def test_time_trigger_counts_seconds(tmp_path):
    trigger, scene = TimeTrigger(2.5), Scene()
    found = []
    for time in (1.0, 2.5, 3.0, 5.0, 5.1, 30.0, 30.1, 32.5):
        scene.elapsed_time = time
        if trigger(scene):
            found.append(time)
    assert found == [2.5, 5.0, 30.0, 32.5]
    with pytest.raises(ValueError, match="TimeTrigger: the period must be positive"):
        TimeTrigger(0)


def test_any_trigger_asks_all():
    once = OnceTrigger()
    trigger = AnyTrigger((2, "iteration"), once, IntervalTrigger(3, "iteration"))
    assert fired(trigger, 6) == [1, 2, 3, 4, 6]
    assert once.finished


def test_best_values():
    loss = LOSSES.get
    assert fired(MinValueTrigger("loss", (1, "iteration")), 8, loss=loss) == [
        1,
        2,
        5,
        8,
    ]
    assert fired(MaxValueTrigger("loss", (1, "iteration")), 8, loss=loss) == [1, 7]
    any_change = BestValueTrigger(
        "loss", lambda best, new: new != best, (1, "iteration")
    )
    assert fired(any_change, 8, loss=loss) == [1, 2, 3, 5, 7, 8]
    assert any_change.best_value == 1.0


def test_best_value_compares_weighted_means_of_intervals():
    trigger, scene = MinValueTrigger("loss", (2, "iteration")), Scene()
    for loss, weight in ((4.0, 1), (0.0, 3), (2.0, None), (1.0, None)):
        found = trigger(scene.step(loss=loss, weight=weight))
    assert trigger.best_value == 1.0
    assert not found


def test_missing_metric_is_named_with_those_available():
    trigger = MinValueTrigger("validation/loss", (1, "iteration"))
    message = (
        "'validation/loss' was not observed.*iteration 1.*Available: accuracy, loss"
    )
    with pytest.raises(KeyError, match=message):
        trigger(Scene().step(loss=1.0, accuracy=2.0))
    with pytest.raises(KeyError, match="Available: nothing"):
        trigger(Scene().step())


def test_early_stopping_waits_for_its_patience():
    def trigger(**options):
        return EarlyStoppingTrigger((1, "iteration"), "loss", **options)

    assert fired(trigger(patience=3), 8, loss=lambda i: i)[0] == 4
    assert fired(trigger(patience=2), 8, loss=LOSSES.get) == [4, 7]
    assert fired(trigger(patience=2, mode="max"), 3, loss=LOSSES.get) == [3]
    accuracy = EarlyStoppingTrigger((1, "iteration"), "accuracy", patience=1)
    assert fired(accuracy, 4, accuracy=lambda i: i) == []


def test_early_stopping_ends_at_its_maximum():
    trigger = EarlyStoppingTrigger(
        (1, "iteration"), "loss", max_trigger=(3, "iteration")
    )
    assert fired(trigger, 4, loss=lambda i: -i) == [3, 4]
    assert trigger.get_training_length() == (3, "iteration")


def test_early_stopping_counts_nan_as_no_improvement():
    trigger = EarlyStoppingTrigger((1, "iteration"), "loss", patience=2)
    assert fired(trigger, 2, loss=lambda i: math.nan) == [2]


@one_device("no arrays")
def test_early_stopping_refuses_bad_arguments():
    with pytest.raises(ValueError, match="patience must be at least 1, got 0"):
        EarlyStoppingTrigger(patience=0)
    with pytest.raises(
        ValueError, match="mode 'up' is not known; use one of auto, max"
    ):
        EarlyStoppingTrigger(mode="up")


def test_early_stopping_asks_nothing_before_training():
    assert not EarlyStoppingTrigger((1, "iteration"), "loss")(Scene())


@one_device("no arrays")
def test_get_trigger():
    assert isinstance(get_trigger((2, "epoch")), IntervalTrigger)
    assert isinstance(get_trigger(None), NeverFire)
    assert repr(get_trigger([2, "epoch"])) == "IntervalTrigger(2, 'epoch')"
    trigger = OnceTrigger()
    assert get_trigger(trigger) is trigger
    with pytest.raises(TypeError, match=r"a pair like \(1, 'epoch'\); got 'epoch'"):
        get_trigger("epoch")
