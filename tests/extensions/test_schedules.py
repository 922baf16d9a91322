import math

import pytest

from dyrnn import extensions as E
from dyrnn.optimizers import SGD
from dyrnn.serializers import load_npz, save_npz
from dyrnn.training import Trainer
from tests.training.toys import FakeUpdater, Regression

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
    "warm-up": (
        lambda **o: E.WarmupShift("lr", 0.2, 4, **o),
        [0.2, 0.4, 0.6, 0.8, 1, 1],
    ),
}


def make(out, extension, stop=5, values=None):
    trainer = Trainer(FakeUpdater(1, values), (stop, "iteration"), out)
    trainer.extend(extension)
    return trainer


def used(trainer, seen):
    """Run, and note the learning rate after each iteration."""
    optimizer = trainer.updater.optimizer
    trainer.extend(lambda _: seen.append(optimizer.lr), "note", priority=-1)
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

    trainer, _ = build(2)
    trainer.run()
    save_npz(tmp_path / "s.npz", trainer)
    resumed, loaded = build(2)
    load_npz(tmp_path / "s.npz", resumed)
    assert loaded.lr == 4.0
    resumed.run()
    assert loaded.lr == 1.0


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
