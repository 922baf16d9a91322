import gc

import numpy as np
import pytest

import dyrnn.functions as F
import dyrnn.links as L
from dyrnn import backend
from dyrnn.datasets import concat_examples
from dyrnn.engine.core import Variable
from dyrnn.engine.parameter import Parameter
from dyrnn.errors import NonFiniteError
from dyrnn.iterators import ParallelSequentialIterator, SerialIterator, WindowIterator
from dyrnn.link import Chain
from dyrnn.optimizers import SGD
from dyrnn.reporter import DictSummary, Observation, Reporter, report
from dyrnn.serializers import load_npz, save_npz
from dyrnn.training import BPTTUpdater, StandardUpdater, Trainer
from tests.arrays import every_device, one_device, xp
from tests.training.toys import (
    Lists,
    Recurrent,
    Regression,
    points,
    sequential,
    text,
    update,
)

pytestmark = every_device


def standard(batch_size=4, device=None, model=None, **options):
    optimizer = SGD(lr=0.05).setup(model or Regression())
    iterator = SerialIterator(points(), batch_size, shuffle=False)
    return StandardUpdater(iterator, optimizer, device=device, **options)


def test_standard_update_descends():
    updater = standard()
    losses = [update(updater)["main/loss"] for _ in range(30)]
    assert losses[-1] < losses[0] / 5
    assert updater.iteration == 30
    assert updater.epoch == 12


def test_a_loop_that_keeps_one_observation_sees_each_loss():
    updater, reporter, observation = standard(), Reporter(), {}
    model = updater.get_optimizer().target
    reporter.add_observer("main", model)
    losses = set()
    for _ in range(5):
        with reporter.scope(observation):
            updater.update()
        losses.add(float(observation["main/loss"]))
        assert observation["main/loss"] == updater.mean_loss
    assert len(losses) == 5


def test_progress_is_that_of_the_iterator_and_of_this_update():
    updater = standard()
    seen = []
    for _ in range(5):
        updater.update()
        seen.append((updater.previous_epoch_detail, updater.epoch_detail))
    assert seen == [(0, 0.4), (0.4, 0.8), (0.8, 1.2), (1.2, 1.6), (1.6, 2.0)]
    assert updater.is_new_epoch
    assert updater.get_optimizer().epoch == 2


@pytest.mark.parametrize("reports", [False, True])
def test_means_count_examples_not_batches(reports):
    # Two batches, of 8 and of 2 examples, at parameters that stay the same.
    model = Regression(reports)
    optimizer = SGD(lr=0.0).setup(model)
    iterator = SerialIterator(points(10), 8, repeat=False, shuffle=False)
    updater = StandardUpdater(iterator, optimizer)
    found = update(updater, 2)["main/loss"]
    x, t = concat_examples(points(10))
    assert found == pytest.approx(float(Regression(False)(x, t).array), rel=1e-12)


def test_batches_may_be_tuples_dictionaries_or_single_arrays():
    seen = []

    def loss(*args, **kwargs):
        seen.append((len(args), sorted(kwargs)))
        return (model.W * model.W).mean()

    model = Regression()
    for dataset in ([(1.0, 2.0)], [{"x": 1.0, "t": 2.0}], [1.0]):
        iterator = SerialIterator(dataset, 1)
        StandardUpdater(iterator, SGD().setup(model), loss_func=loss).update()
    assert seen == [(2, []), (0, ["t", "x"]), (1, [])]


def test_lists_of_sequences_count_their_elements():
    reporter, observation = Reporter(), Observation()

    def loss(x, t):
        report({"value": 1.0})
        return (model.W * model.W).mean()

    def columns(batch, device):
        return [x for x, _ in batch], [t for _, t in batch]

    model = Regression()
    iterator = SerialIterator([(xp.ones(3), xp.ones(n)) for n in (2, 5)], 2)
    updater = StandardUpdater(iterator, SGD().setup(model), columns, loss_func=loss)
    with reporter.scope(observation):
        updater.update()
    assert observation.weights["value"] == 7


def test_lists_of_other_things_count_as_the_batch():
    reporter, observation = Reporter(), Observation()

    def loss(trees):
        report({"value": 1.0})
        return (model.W * model.W).mean() * len(trees)

    model = Regression()
    iterator = SerialIterator([{"word": 1}, {"left": {"word": 2}}, {"word": 3}], 2)
    optimizer = SGD().setup(model)
    updater = StandardUpdater(iterator, optimizer, lambda x, _: x, loss_func=loss)
    with reporter.scope(observation):
        updater.update()
    assert observation.weights["value"] == 2


def test_several_iterators_and_optimizers_by_name():
    main = SerialIterator(points(), 4)
    optimizers = {"main": SGD().setup(Regression()), "other": SGD().setup(Regression())}
    updater = StandardUpdater({"main": main, "more": main}, optimizers)
    assert updater.get_iterator("more") is main
    assert updater.get_optimizer("other") is optimizers["other"]
    assert updater.get_all_optimizers() == optimizers
    with pytest.raises(KeyError, match="no iterator 'main'.* are: 'train'"):
        StandardUpdater({"train": main}, optimizers)
    with pytest.raises(KeyError, match="no optimizer 'main'.* are: none"):
        StandardUpdater(main, {})
    with pytest.raises(KeyError, match="no iterator 'x'; .* 'main', 'more'"):
        updater.get_iterator("x")
    with pytest.raises(KeyError, match="no optimizer 'x'; .*'main', 'other'"):
        updater.get_optimizer("x")


def test_a_parameter_of_two_optimizers_is_not_updated_twice():
    model = Regression()
    optimizers = {"main": SGD().setup(model), "other": SGD().setup(model.copy())}
    updater = StandardUpdater(SerialIterator(points(), 4), optimizers)
    before = model.W.array.copy()
    with pytest.raises(ValueError, match=r"/W of .*'other' is .* of 'main', too"):
        updater.update()
    xp.testing.assert_array_equal(model.W.array, before)
    optimizers["other"].freeze("/W")
    with pytest.raises(ValueError, match="does not depend on the model of"):
        updater.update()


def test_what_is_no_iterator_and_no_optimizer_is_named():
    iterator, model = SerialIterator(points(), 4), Regression()
    optimizer = SGD().setup(model)
    with pytest.raises(TypeError, match="optimizer 'main' is of type Regression"):
        StandardUpdater(iterator, model)
    with pytest.raises(TypeError, match=r"iterator 'main' is of type SGD.*no next\(\)"):
        StandardUpdater(optimizer, iterator)
    with pytest.raises(TypeError, match="iterator 'main' is of type list"):
        BPTTUpdater(points(), optimizer, 3)
    with pytest.raises(ValueError, match=r"call optimizer.setup\(model\) first"):
        StandardUpdater(iterator, SGD())


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "loss returned a NoneType, but the loss is a Variable"),
        (1.0, "loss returned a float"),
        (np.float32(1), r"loss returned a float32 of shape \(\)"),
        (Variable(np.ones(3)), r"loss returned a Variable of shape \(3,\)"),
    ],
)
@pytest.mark.parametrize("make", [standard, sequential])
def test_loss_that_is_none_or_no_variable_is_refused(make, value, message):
    def loss(x, t):
        return value

    for options in [{}] if make is standard else [{}, {"window": True}]:
        with pytest.raises(TypeError, match=message):
            make(loss_func=loss, **options).update()


def test_loss_without_a_graph_is_refused():
    updater = standard(loss_func=lambda x, t: Variable(xp.ones(())))
    with pytest.raises(ValueError, match="the loss is a Variable without a graph"):
        updater.update()


@pytest.mark.parametrize("make", [standard, sequential])
def test_loss_may_have_axes_around_its_one_element(make):
    model = Regression(False) if make is standard else Recurrent()
    plain, with_axes = make(model=model), make(model=model.copy("copy"))
    other = with_axes.get_optimizer().target
    with_axes.loss_func = lambda x, t: other(x, t).reshape((1, 1))
    assert update(plain) == update(with_axes)
    for ours, theirs in zip(model.params(), other.params(), strict=True):
        xp.testing.assert_array_equal(ours.array, theirs.array)


def test_training_iterator_that_ends_is_an_error():
    iterator = SerialIterator(points(4), 4, repeat=False)
    updater = StandardUpdater(iterator, SGD().setup(Regression()))
    updater.update()
    with pytest.raises(RuntimeError, match="ended in iteration 2.*repeat=True"):
        updater.update()
    updater = sequential(ParallelSequentialIterator(text(7), 1, repeat=False))
    updater.update()
    updater.update()
    with pytest.raises(RuntimeError, match="ended in iteration 3.*repeat=True"):
        updater.update()


def test_finalize_reaches_the_iterators():
    iterator = Lists(SerialIterator(points(), 4))
    StandardUpdater(iterator, SGD().setup(Regression())).finalize()
    assert iterator.is_finalized


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_step_and_window_have_the_same_loss_and_gradients(dtype):
    step, window = sequential(dtype=dtype), sequential(dtype=dtype, window=True)
    tolerance = 1e-5 if dtype == np.float32 else 1e-12
    for _ in range(15):
        found = [update(updater)["main/loss"] for updater in (step, window)]
        assert found[0] == pytest.approx(found[1], rel=tolerance)
        models = (updater.get_optimizer().target for updater in (step, window))
        for a, b in zip(*(model.params() for model in models), strict=True):
            xp.testing.assert_allclose(a.grad, b.grad, rtol=tolerance, atol=tolerance)
            xp.testing.assert_allclose(a.array, b.array, tolerance, tolerance)


def test_loss_is_the_sum_over_steps_and_the_report_its_mean():
    updater = sequential(ParallelSequentialIterator(text(), 4))
    x, t = ParallelSequentialIterator(text(), 4).next_window(3)
    model = Recurrent()
    expected = sum(model(x[i], t[i]).array for i in range(3))
    total = []
    backward = Variable.backward
    try:
        Variable.backward = lambda self, **o: (total.append(self), backward(self, **o))
        found = update(updater)["main/loss"]
    finally:
        Variable.backward = backward
    assert float(total[0].array) == pytest.approx(float(expected), rel=1e-12)
    assert found == pytest.approx(float(expected) / 3, rel=1e-12)


def test_reported_loss_is_weighted_by_tokens():
    updater = sequential(WindowIterator(text(25), 2, 5, remainder=True), 5)
    observations = []
    reporter = Reporter()
    reporter.add_observer("main", updater.get_optimizer().target)
    for _ in range(3):
        observations.append(Observation())
        with reporter.scope(observations[-1]):
            updater.update()
    assert [o.weights["main/loss"] for o in observations] == [10, 10, 2]


def test_lists_give_the_same_as_windows():
    windows = sequential()
    lists = sequential(Lists(ParallelSequentialIterator(text(), 4)))
    assert update(windows, 20) == update(lists, 20)
    assert lists.get_iterator().steps_taken == 60


@pytest.mark.parametrize("window", [False, True])
def test_window_iterator_is_taken_as_it_is(window):
    tracks = sequential(WindowIterator(text(61), 4, 3), window=window)
    plain = sequential(ParallelSequentialIterator(text(60), 4), window=window)
    assert update(tracks, 4) == update(plain, 4)
    with pytest.raises(ValueError, match="windows of 3 steps, but bprop_len is 7"):
        sequential(WindowIterator(text(), 4, 3), 7)


def test_examples_of_vectors_are_stacked_over_time():
    class Sum(Regression):
        def forward(self, x, t):
            assert x.shape == (2, 3)
            return super().forward(x, t)

    iterator = SerialIterator(points(), 2, shuffle=False)
    iterator.goes_on = True
    updater = BPTTUpdater(iterator, SGD().setup(Sum()), 4)
    assert update(updater)["main/loss"] > 0


def test_bad_bprop_len():
    with pytest.raises(ValueError, match="bprop_len must be at least 1, got 0"):
        sequential(bprop_len=0)
    with pytest.raises(TypeError, match=r"bprop_len must be an integer, got 1\.5"):
        sequential(bprop_len=1.5)


def test_state_is_carried_and_its_graph_is_cut():
    updater = sequential()
    model = updater.get_optimizer().target
    updater.update()
    assert model.h.array.any()
    gc.collect()
    nodes = []
    for _ in range(3):
        updater.update()
        gc.collect()
        nodes.append(sum(isinstance(each, Variable) for each in gc.get_objects()))
    assert nodes[0] == nodes[-1]


class Late(Chain):
    """A cell whose output is its state of before: no loss depends on the newest one."""

    carried = ("h",)

    def __init__(self):
        super().__init__()
        with self.init_scope():
            self.W = Parameter(xp.random.default_rng(1).normal(0, 0.4, (4, 3)))
        self.h = None

    def forward(self, x, t):
        x, h = xp.resize(x, (4, 3)).astype(float), self.h
        self.h = F.tanh(F.linear(x if h is None else x + h[:, :3], self.W))
        penalty = F.sum(self.W * self.W)
        return penalty if h is None else penalty + F.sum(h * h)


@one_device("the stand-in has no resize")
@pytest.mark.parametrize("make", [standard, sequential])
def test_a_state_that_no_loss_depends_on_keeps_no_graph(tmp_path, make):
    whole = make(model=Late())
    for number in range(6):
        whole.update()
        assert whole.get_optimizer().target.h.node.is_cut
        if number == 2:
            save_npz(tmp_path / "updater.npz", whole)
    resumed = make(model=Late())
    load_npz(tmp_path / "updater.npz", resumed)
    update(resumed, 3)
    found, expected = (each.get_optimizer().target.W for each in (resumed, whole))
    assert found.array.tobytes() == expected.array.tobytes()


def test_state_may_be_reset_at_each_epoch():
    iterator = WindowIterator(text(), 4, 3)
    keeping, resetting = (
        sequential(iterator),
        sequential(WindowIterator(text(), 4, 3), reset_at_epoch=True),
    )
    for number in range(1, 11):
        keeping.update()
        resetting.update()
        is_reset = resetting.get_optimizer().target.h is None
        assert (
            is_reset == (number % 4 == 0 and len(iterator) == 4) or len(iterator) != 4
        )
        assert is_reset == resetting.is_new_epoch
        assert keeping.get_optimizer().target.h is not None


@pytest.mark.parametrize("window", [False, True])
def test_a_window_moves_to_the_device_at_once(device, window):
    sent = []

    class Counting(type(device)):
        def send(self, array):
            sent.append(array.shape)
            return super().send(array)

    updater = sequential(device=device, window=window, dtype=np.float32)
    updater.device.__class__ = Counting
    try:
        updater.update()
    finally:
        updater.device.__class__ = Counting.__base__
    assert sent[-2:] == [(3, 4), (3, 4)]


@pytest.mark.parametrize("make", [standard, sequential])
def test_updates_do_not_wait_for_the_device(make, synchronisations):
    updater = make(device="@strict")
    reporter, summary = Reporter(), DictSummary()
    reporter.add_observer("main", updater.get_optimizer().target)
    update(updater)
    counts = []
    for _ in range(5):
        observation = Observation()
        with synchronisations() as count, reporter.scope(observation):
            updater.update()
            summary.add(observation)
        counts.append(count())
    assert max(counts) == 0
    assert summary.compute_mean()["main/loss"] > 0


def test_devices_agree(device):
    losses = [update(sequential(device=d), 5)["main/loss"] for d in (device, None)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-12)


def test_non_finite_loss_on_a_device_is_named_when_it_is_read():
    updater = standard(device="@strict")
    updater.update()
    updater.get_optimizer().target.W.array[...] = np.nan
    for _ in range(3):
        updater.update()
    with pytest.raises(
        NonFiniteError, match="in iteration 2: the loss is nan. A lower"
    ):
        updater.check_finite()
    updater.check_finite()


@one_device("a device is not waited for")
def test_non_finite_loss_on_the_host_stops_before_the_update():
    updater = standard()
    updater.update()
    param = updater.get_optimizer().target.W
    param.array[0, 0] = np.inf
    before = param.array.copy()
    with pytest.raises(
        NonFiniteError, match="in iteration 2: the loss is inf. A lower"
    ):
        updater.update()
    xp.testing.assert_array_equal(param.array, before)
    assert updater.iteration == 1


def test_losses_waiting_on_a_device_stay_few():
    updater = standard(device="@strict")
    updater.get_optimizer().lr = 0.0
    for _ in range(300):
        updater.update()
    assert len(updater._unchecked) == 300 - 256


def test_model_with_non_finite_loss_is_not_saved(tmp_path):
    updater = standard(device="@strict")
    updater.get_optimizer().target.W.array[...] = np.nan
    updater.update()
    with pytest.raises(NonFiniteError, match="iteration 1"):
        save_npz(tmp_path / "u.npz", updater)


@pytest.mark.parametrize("make", [standard, sequential])
def test_updater_goes_on_exactly_when_loaded(tmp_path, make):
    for stop in range(0, 9, 2):
        whole, half = make(), make()
        if stop:
            update(whole, stop)
        save_npz(tmp_path / "u.npz", whole)
        load_npz(tmp_path / "u.npz", half)
        assert half.iteration == stop
        assert half.previous_epoch_detail == whole.previous_epoch_detail
        assert half.is_new_epoch == whole.is_new_epoch
        assert update(half, 7) == update(whole, 7)


def test_updater_moves_models_to_its_device(device):
    updater = standard(device=device)
    assert updater.device == device
    param = updater.get_optimizer().target.W
    assert backend.device_of(param.array) == device


def test_loss_func_takes_the_place_of_the_model():
    updater = sequential(loss_func=lambda x, t: F.sum(F.square(model.V)))
    model = updater.get_optimizer().target
    before = float(xp.square(model.V.array).sum())
    assert update(updater)["main/loss"] == pytest.approx(before)


@one_device("a device is not waited for")
@pytest.mark.parametrize("loss_of", [lambda link: link, lambda link: link.forward])
def test_refused_update_puts_back_the_link_of_the_loss(loss_of):
    class Normalized(Chain):
        def __init__(self, model):
            super().__init__()
            with self.init_scope():
                self.model = model
                self.norm = L.BatchNormalization(2)

        def forward(self, x, t):
            return F.mean_squared_error(self.model(self.norm(x)), t)

    model = L.Linear(2, 1)
    outer = Normalized(model)
    x, t = xp.ones((4, 2), np.float32), xp.ones((4, 1), np.float32)
    x[3] = np.nan
    iterator = SerialIterator(list(zip(x, t, strict=True)), 2, shuffle=False)
    updater = StandardUpdater(iterator, SGD().setup(model), loss_func=loss_of(outer))
    updater.update()
    before = [xp.copy(getattr(outer.norm, name)) for name in outer.norm._persistent]
    with pytest.raises(NonFiniteError, match="in iteration 2"):
        updater.update()
    after = [getattr(outer.norm, name) for name in outer.norm._persistent]
    assert len(before) >= 2
    for one, other in zip(before, after, strict=True):
        xp.testing.assert_array_equal(one, other)


def test_an_iterator_may_have_no_finalize(tmp_path):
    class Plain:
        epoch, epoch_detail = 0, 0.0

        def next(self):
            return points(4)

    updater = StandardUpdater(Plain(), SGD().setup(Regression()))
    Trainer(updater, (2, "iteration"), tmp_path).run()
    assert updater.iteration == 2


class Accumulating(StandardUpdater):
    """Adds up gradients itself, without weights."""

    batches = 3

    def update_core(self):
        optimizer = self.get_optimizer()
        model, mean = optimizer.target, 0.0
        model.cleargrads()
        for _ in range(self.batches):
            batch = self.converter(self.get_iterator().next(), self.device)
            loss = model(*batch) / self.batches
            loss.backward()
            mean = mean + loss.array
        optimizer.update()
        report({"loss": mean}, model)


class Waiting(StandardUpdater):
    """Updates with every third batch."""

    def update_core(self):
        optimizer = self.get_optimizer()
        if self.iteration % 3 == 0:
            optimizer.target.cleargrads()
        batch = self.converter(self.get_iterator().next(), self.device)
        (optimizer.target(*batch) / 3).backward()
        if self.iteration % 3 == 2:
            optimizer.update()


def test_gradients_of_several_batches_are_those_of_one(tmp_path):
    def train(kind, batch_size, updates):
        iterator = SerialIterator(points(12), batch_size, shuffle=False)
        updater = kind(iterator, SGD(lr=0.05).setup(Regression()))
        summary, reporter = DictSummary(), Reporter()
        reporter.add_observer("main", updater.get_optimizer().target)
        for i in range(updates):
            observation = Observation()
            with reporter.scope(observation):
                updater.update()
            summary.add(observation)
            if i == 3:  # in the middle of three
                save_npz(tmp_path / "u.npz", updater)
                model = Regression()
                iterator = SerialIterator(points(12), batch_size, shuffle=False)
                updater = kind(iterator, SGD(lr=0.05).setup(model))
                reporter.add_observer("main", model)
                load_npz(tmp_path / "u.npz", updater)
        return updater.get_optimizer().target.W.array, summary.compute_mean()

    W, means = train(StandardUpdater, 6, 5)
    for kind, updates in (Accumulating, 5), (Waiting, 15):
        other, others = train(kind, 2, updates)
        xp.testing.assert_allclose(other, W, rtol=1e-12)
        assert others == pytest.approx(means, rel=1e-12)
