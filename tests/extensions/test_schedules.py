import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dyrnn import extensions as E
from dyrnn.optimizers import SGD
from dyrnn.serializers import load_npz, save_npz
from dyrnn.training import Trainer
from dyrnn.training.triggers import ManualScheduleTrigger
from tests.arrays import every_device, one_device
from tests.training.toys import FakeUpdater, Regression

pytestmark = every_device

SHIFTS = {
    "exponential": (
        lambda **o: E.ExponentialShift("lr", 0.5, **o),
        [1, 0.5, 0.25, 0.125, 0.0625, 0.03125],
    ),
    "exponential to a target": (
        lambda **o: E.ExponentialShift("lr", 0.5, target=0.2, **o),
        [1, 0.5, 0.25, 0.2, 0.2, 0.2],
    ),
    "exponential up to a target": (
        lambda **o: E.ExponentialShift("lr", 2, target=5, **o),
        [1, 2, 4, 5, 5, 5],
    ),
    "linear": (
        lambda **o: E.LinearShift("lr", (3, 1), (1, 5), **o),
        [3, 3, 2.5, 2, 1.5, 1],
    ),
    "step": (lambda **o: E.StepShift("lr", 0.5, 2, **o), [1, 1, 0.5, 0.5, 0.25, 0.25]),
    "multistep": (
        lambda **o: E.MultistepShift("lr", 0.1, [1, 4], **o),
        [1, 0.1, 0.1, 0.1, 0.01, 0.01],
    ),
    "polynomial": (
        lambda **o: E.PolynomialShift("lr", 2, 4, **o),
        [1, 0.5625, 0.25, 0.0625, 0, 0],
    ),
    "inverse": (
        lambda **o: E.InverseShift("lr", 1, 1, **o),
        [1, 1 / 2, 1 / 3, 1 / 4, 1 / 5, 1 / 6],
    ),
    "cosine": (
        lambda **o: E.CosineShift("lr", 4, 0.2, **o),
        [0.2 + 0.8 * (1 + math.cos(math.pi * min(t, 4) / 4)) / 2 for t in range(6)],
    ),
    "one cycle": (
        lambda **o: E.OneCycleShift("lr", 4, rise=0.5, start=0.2, end=0.1, **o),
        [0.2, 0.6, 1, 0.55, 0.1, 0.1],
    ),
    "warm-up": (
        lambda **o: E.WarmupShift("lr", 0.2, 4, **o),
        [0.2, 0.4, 0.6, 0.8, 1, 1],
    ),
}


def make(out, extension, stop=5, values=None):
    trainer = Trainer(FakeUpdater(1, values), (stop, "iteration"), out)
    trainer.extend(extension)
    return trainer


class Rates:
    """Notes the learning rate after each iteration, and is not saved."""

    def __init__(self, optimizer, seen):
        self.optimizer, self.seen = optimizer, seen

    def __call__(self, _trainer):
        self.seen.append(self.optimizer.lr)

    def serialize(self, s):
        pass


def used(trainer, seen):
    """Run, and note the learning rate after each iteration."""
    trainer.extend(Rates(trainer.updater.optimizer, seen), "note", priority=-1)
    trainer.run()
    return seen


@pytest.mark.parametrize("name", SHIFTS)
def test_values(tmp_path, name):
    shift, expected = SHIFTS[name]
    trainer = make(tmp_path, shift())
    trainer.extend(
        lambda t: None, "first", call_before_training=True, trigger=lambda _: False
    )
    seen = used(trainer, [])
    assert seen == pytest.approx(expected[1:], abs=1e-15)


@pytest.mark.parametrize("name", SHIFTS)
def test_first_update_uses_the_first_value(tmp_path, name):
    shift, expected = SHIFTS[name]
    trainer = make(tmp_path, shift(), stop=1)
    seen = []
    values = trainer.updater.values
    optimizer = trainer.updater.optimizer
    trainer.updater.values = lambda i: seen.append(optimizer.lr) or values(i)
    trainer.run()
    assert seen == pytest.approx(expected[:1])


@pytest.mark.parametrize("stop", [1, 2, 4])
@pytest.mark.parametrize("name", SHIFTS)
def test_shift_goes_on_when_loaded(tmp_path, name, stop):
    shift, expected = SHIFTS[name]
    trainer = make(tmp_path, shift(), stop)
    trainer.run()
    save_npz(tmp_path / "s.npz", trainer)
    resumed = make(tmp_path, shift())
    load_npz(tmp_path / "s.npz", resumed)
    assert used(resumed, []) == pytest.approx(expected[stop + 1 :], abs=1e-15)


def test_optimizer_and_first_value_may_be_given(tmp_path):
    other = SGD(lr=7.0).setup(Regression())
    make(tmp_path, E.ExponentialShift("lr", 0.5, init=4.0, optimizer=other), 2).run()
    assert other.lr == 1.0


def test_optimizer_outside_of_the_updater_is_set_after_a_resume(tmp_path):
    def build(stop):
        other = SGD(lr=4.0).setup(Regression())
        shift = E.ExponentialShift("lr", 0.5, optimizer=other)
        plateau = E.ReduceOnPlateau("lr", 0.5, "loss", optimizer=other)
        trainer = make(tmp_path, shift, stop, lambda i: {"loss": 1.0})
        trainer.extend(plateau, trigger=(1, "iteration"))
        return trainer, other

    trainer, other = build(2)
    trainer.run()
    assert other.lr == 4.0 * 0.25 * 0.5  # the loss did not fall
    save_npz(tmp_path / "s.npz", trainer)
    resumed, loaded = build(2)
    load_npz(tmp_path / "s.npz", resumed)
    assert loaded.lr == 4.0
    resumed.run()
    assert loaded.lr == other.lr


def test_trigger_says_what_a_step_is(tmp_path):
    trainer = Trainer(FakeUpdater(1), (6, "iteration"), tmp_path)
    trainer.extend(E.ExponentialShift("lr", 0.5), trigger=(3, "iteration"))
    assert used(trainer, []) == [1, 1, 0.5, 0.5, 0.5, 0.25]


def test_plateau_lowers_the_rate_after_its_patience(tmp_path):
    losses = {1: 5.0, 2: 4.0, 3: 4.0, 4: 6.0, 5: math.nan, 6: 3.0, 7: 3.0, 8: 3.0}

    def build(stop):
        plateau = E.ReduceOnPlateau("lr", 0.5, "loss", patience=1, min_value=0.2)
        return make(tmp_path, plateau, stop, lambda i: {"loss": losses[i]})

    assert used(build(8), []) == [1, 1, 1, 0.5, 0.5, 0.5, 0.5, 0.25]
    trainer = build(4)
    trainer.run()
    save_npz(tmp_path / "s.npz", trainer)
    resumed = build(8)
    load_npz(tmp_path / "s.npz", resumed)
    assert used(resumed, []) == [0.5, 0.5, 0.5, 0.25]


def test_plateau_respects_its_minimum(tmp_path):
    plateau = E.ReduceOnPlateau("lr", 0.5, "loss", min_value=0.3)
    trainer = make(tmp_path, plateau, 5, lambda i: {"loss": 1.0})
    assert used(trainer, []) == [1, 0.5, 0.3, 0.3, 0.3]


@one_device("no arrays")
def test_bad_arguments():
    with pytest.raises(
        ValueError, match="ExponentialShift: rate must be positive, got 0"
    ):
        E.ExponentialShift("lr", 0)
    with pytest.raises(ValueError, match=r"two rising numbers, got \(3, 3\)"):
        E.LinearShift("lr", (1, 2), (3, 3))
    with pytest.raises(ValueError, match="StepShift: step must be at least 1, got 0"):
        E.StepShift("lr", 0.5, 0)
    with pytest.raises(ValueError, match="max_count must be at least 1, got 0"):
        E.PolynomialShift("lr", 1, 0)
    with pytest.raises(ValueError, match="warmup_iter must be at least 1, got 0"):
        E.WarmupShift("lr", 0.1, 0)
    with pytest.raises(ValueError, match="factor must be between 0 and 1, got 1"):
        E.ReduceOnPlateau("lr", 1)


def test_unknown_hyperparameter_lists_the_known_ones(tmp_path):
    with pytest.raises(
        AttributeError, match="SGD has no 'alpha' to change; it has: .*lr"
    ):
        make(tmp_path, E.ExponentialShift("alpha", 0.5)).run()
    with pytest.raises(AttributeError, match="SGD has no 'rate' to change"):
        make(tmp_path, E.LinearShift("rate", (1, 0), (0, 9))).run()


def test_base_of_shifts_has_no_value(tmp_path):
    class Nothing(type(E.StepShift("lr", 1, 1)).__base__):
        pass

    with pytest.raises(
        NotImplementedError, match=r"Nothing must define value\(self, t\)"
    ):
        make(tmp_path, Nothing("lr")).run()


def composed(tmp_path, shifts, stop, load=None, base=1.0, save=None):
    """The rate after each iteration, of ``(shift, trigger, priority)``."""
    trainer = Trainer(
        FakeUpdater(1, lambda i: LOSSES[i]), (stop, "iteration"), tmp_path
    )
    trainer.updater.optimizer.lr = base
    for number, (shift, trigger, priority) in shifts:
        trainer.extend(shift(), f"shift {number}", trigger, priority)
    if load is not None:
        load_npz(load, trainer)
    seen = used(trainer, [])
    if save is not None:
        save_npz(save, trainer)
    return seen


def numbered(*shifts):
    return list(enumerate((shift, trigger, 100) for shift, trigger in shifts))


LOSSES = {i: {"loss": loss} for i, loss in enumerate([0, 5, 4, 4, 6, 3, 3, 3, 2, 9, 9])}
EVERY = (1, "iteration")


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize(
    ("other", "trigger", "expected"),
    [
        (
            lambda: E.ExponentialShift("lr", 0.5),
            ManualScheduleTrigger([3, 5], "iteration"),
            [0.5, 1, 0.5, 0.5, 0.25, 0.25],
        ),
        (lambda: E.StepShift("lr", 0.1, 3), EVERY, [0.5, 1, 0.1, 0.1, 0.1, 0.01]),
        (
            lambda: E.ReduceOnPlateau("lr", 0.5, "loss", check_trigger=EVERY),
            EVERY,
            [0.5, 1, 0.5, 0.25, 0.25, 0.125],
        ),
        (
            lambda: E.LinearShift("lr", (1, 0), (2, 6)),
            EVERY,
            [0.5, 1, 0.75, 0.5, 0.25, 0],
        ),
    ],
)
@pytest.mark.parametrize(
    "warm_up",
    [lambda: E.WarmupShift("lr", 0, 2), lambda: E.LinearShift("lr", (0, 1), (0, 2))],
)
def test_a_warm_up_and_a_decay(tmp_path, warm_up, other, trigger, expected, order):
    shifts = numbered((warm_up, EVERY), (other, trigger))[::order]
    assert composed(tmp_path, shifts, 6) == pytest.approx(expected, abs=1e-15)


@settings(max_examples=30)
@given(data=st.data())
def test_schedules_compose_in_any_order(tmp_path_factory, data):
    """The value is the product of what each makes alone, however they are added."""
    tmp_path = tmp_path_factory.getbasetemp()
    base = data.draw(st.sampled_from([0.25, 1.0, 3.0]), "base")
    makers = {
        "exponential": lambda: E.ExponentialShift("lr", 0.5),
        "with init": lambda: E.ExponentialShift("lr", 0.5, init=base),
        "to a target": lambda: E.ExponentialShift("lr", 0.5, target=base / 5),
        "linear": lambda: E.LinearShift("lr", (base / 4, base), (1, 4)),
        "fall": lambda: E.LinearShift("lr", (base, base / 2), (3, 7)),
        "step": lambda: E.StepShift("lr", 0.7, 3),
        "multistep": lambda: E.MultistepShift("lr", 0.3, [2, 5]),
        "polynomial": lambda: E.PolynomialShift("lr", 0.5, 20),
        "inverse": lambda: E.InverseShift("lr", 0.3, 1),
        "warm-up": lambda: E.WarmupShift("lr", base / 3, 4),
        "plateau": lambda: E.ReduceOnPlateau("lr", 0.5, "loss", check_trigger=EVERY),
    }
    names = data.draw(st.lists(st.sampled_from(sorted(makers)), min_size=1, max_size=4))
    shifts = [
        (
            makers[name],
            EVERY if name == "plateau" else (data.draw(st.integers(1, 3)), "iteration"),
            data.draw(st.sampled_from([90, 100, 110])),
        )
        for name in names
    ]
    shifts = list(enumerate(shifts))
    wanted = [base] * 10
    for shift in shifts:
        alone = composed(tmp_path, [shift], 10, base=base)
        wanted = [w * a / base for w, a in zip(wanted, alone, strict=True)]
    added = data.draw(st.permutations(shifts))
    found = composed(tmp_path, added, 10, base=base)
    assert found == pytest.approx(wanted, rel=1e-12)
    cut = data.draw(st.integers(1, 9))
    file = tmp_path / "cut.npz"
    composed(tmp_path, added, cut, base=base, save=file)
    assert composed(tmp_path, added, 10, file, base) == found[cut:]


def test_schedules_of_several_hyperparameters_keep_to_their_own(tmp_path):
    trainer = make(tmp_path, E.ExponentialShift("lr", 0.5), 3)
    other = SGD(lr=7.0).setup(Regression())
    trainer.extend(E.ExponentialShift("lr", 0.1, optimizer=other))
    trainer.run()
    assert (trainer.updater.optimizer.lr, other.lr) == pytest.approx((0.125, 0.007))


def test_schedules_that_start_from_different_values_are_refused(tmp_path):
    trainer = make(tmp_path, E.LinearShift("lr", (0, 2), (0, 3)))
    trainer.extend(E.ExponentialShift("lr", 0.5, init=1.0))
    with pytest.raises(
        ValueError, match="LinearShift 2, ExponentialShift 1.0. Let all"
    ):
        trainer.run()


def test_the_range_says_the_base_not_the_optimizer(tmp_path):
    shifts = numbered(
        (lambda: E.LinearShift("lr", (0, 2), (0, 2)), EVERY),
        (lambda: E.ExponentialShift("lr", 0.5), (2, "iteration")),
    )
    assert composed(tmp_path, shifts, 4, base=0.01) == [1, 1, 1, 0.5]


def test_a_first_value_that_the_program_changes_is_used(tmp_path):
    first = numbered((lambda: E.ExponentialShift("lr", 0.5, init=1.0), EVERY))
    other = numbered((lambda: E.ExponentialShift("lr", 0.5, init=8.0), EVERY))
    composed(tmp_path, first, 2, save=tmp_path / "s.npz")
    assert composed(tmp_path, other, 4, tmp_path / "s.npz") == [1, 0.5]
