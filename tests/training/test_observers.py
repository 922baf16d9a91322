"""What looks at a training changes nothing in it, and each keeps to its own."""

import itertools

import numpy as np
import pytest

import dyrnn.functions as F
import dyrnn.links as L
from dyrnn import random
from dyrnn.datasets import concat_examples
from dyrnn.engine.parameter import Parameter
from dyrnn.errors import NonFiniteError, SnapshotError
from dyrnn.extensions import (
    Evaluator,
    LogReport,
    MicroAverage,
    PlotReport,
    ReduceOnPlateau,
)
from dyrnn.iterators import BucketIterator, MultithreadIterator, SerialIterator
from dyrnn.link import Chain
from dyrnn.optimizers import SGD
from dyrnn.reporter import report
from dyrnn.serializers import load_npz, save_npz
from dyrnn.training import StandardUpdater, Trainer
from dyrnn.training.triggers import EarlyStoppingTrigger
from tests.arrays import every_device, host, one_device, xp
from tests.training.toys import Regression, fired, parameters, points

pytestmark = every_device


class Drawing(Regression):
    """Draws in training, and in evaluation, too."""

    def forward(self, x, t):
        with_noise = F.gaussian(x, xp.zeros_like(x))
        drawn = random.stream("dropout").generator.random()
        report({"drawn": drawn}, self)
        return super().forward(with_noise.array, t)


def look_by_evaluation(trainer, make=SerialIterator, **options):
    model = trainer.updater.get_optimizer().target
    iterator = make(points(7), 3, repeat=False, **options)
    trainer.extend(Evaluator(iterator, model), trigger=(2, "iteration"))


def look_by_a_second_iterator(trainer):
    other = SerialIterator(points(9), 2)
    trainer.extend(lambda trainer: other.next(), name="other")


def look_by_a_scope(trainer):
    def sample(trainer):
        with random.scope("samples"):
            random.stream("gaussian").generator.random(3)

    trainer.extend(sample)


OBSERVERS = {
    "evaluation": look_by_evaluation,
    "evaluation in buckets": lambda trainer: look_by_evaluation(
        trainer, BucketIterator, length=lambda example: 1
    ),
    "evaluation by threads": lambda trainer: look_by_evaluation(
        trainer, MultithreadIterator
    ),
    "a second iterator": look_by_a_second_iterator,
    "a scope": look_by_a_scope,
    "a log": lambda trainer: trainer.extend(
        LogReport(filename=None), trigger=(2, "iteration")
    ),
}


def train(tmp_path, observers=(), before=None, length=9, **options):
    random.seed(4)
    if before is not None:
        before()
    optimizer = SGD(lr=0.05).setup(Drawing())
    iterator = SerialIterator(points(), 4)
    trainer = Trainer(
        StandardUpdater(iterator, optimizer), (length, "iteration"), tmp_path
    )
    for name in observers:
        OBSERVERS[name](trainer)
    trainer.run()
    return trainer


def test_observers_in_any_order_do_not_change_a_training(tmp_path):
    alone = parameters(train(tmp_path))
    orders = list(itertools.permutations(OBSERVERS))
    for chosen in np.random.default_rng(1).choice(len(orders), 4):
        found = parameters(train(tmp_path, orders[chosen]))
        assert found["/W"].tobytes() == alone["/W"].tobytes()


@pytest.mark.parametrize("make", [SerialIterator, BucketIterator, MultithreadIterator])
def test_an_iterator_for_a_single_pass_may_be_made_first(tmp_path, make):
    options = {"length": lambda example: 1} if make is BucketIterator else {}
    alone = parameters(train(tmp_path))
    found = parameters(
        train(tmp_path, before=lambda: make(points(), 3, repeat=False, **options))
    )
    assert found["/W"].tobytes() == alone["/W"].tobytes()


@pytest.mark.parametrize("make", [SerialIterator, BucketIterator, MultithreadIterator])
def test_an_iterator_that_nobody_uses_yet_may_be_made_first(tmp_path, make):
    options = {"length": lambda example: 1} if make is BucketIterator else {}
    others = []
    alone = parameters(train(tmp_path))
    for _ in range(2):
        found = train(
            tmp_path, before=lambda: others.append(make(points(), 3, **options))
        )
        assert parameters(found)["/W"].tobytes() == alone["/W"].tobytes()
    taken = found.updater.get_iterator().order
    assert any(other.order.tolist() != taken.tolist() for other in others)


@pytest.mark.parametrize("make", [SerialIterator, BucketIterator, MultithreadIterator])
@pytest.mark.parametrize("is_gone", [False, True])
def test_an_iterator_that_was_looked_at_does_not_change_a_training(
    tmp_path, make, is_gone
):
    options = {"length": lambda example: 1} if make is BucketIterator else {}
    kept, orders = [], []

    def look():
        if is_gone:
            make(points(), 3, **options).next()
        kept.append(make(points(), 3, **options))
        kept[-1].next()
        orders.append(kept[-1].order.tolist())

    alone = parameters(train(tmp_path))
    found = train(tmp_path, before=look)
    assert parameters(found)["/W"].tobytes() == alone["/W"].tobytes()
    (other,) = kept
    assert other.order.tolist() == orders[0]
    with other:
        first = [other.next() for _ in range(10)]
    other.reset()
    assert len(first) == 10


@one_device("no arrays")
def test_iterators_of_several_updaters_have_orders_of_their_own():
    before = SerialIterator(points(), 3)  # which draws like the first one of a new seed
    random.seed(4)
    updaters = []
    for _ in range(3):
        SerialIterator(points(), 3).next()
        iterator = SerialIterator(points(), 3)
        optimizer = SGD().setup(Drawing())
        updaters.append(StandardUpdater(iterator, optimizer))
    orders = [tuple(each.get_iterator().order.tolist()) for each in updaters]
    assert len(set(orders)) == 3
    names = [each.get_iterator().order_sampler.stream.name for each in updaters]
    assert before.order_sampler.stream.name == "shuffle"
    assert names == ["shuffle", "shuffle-2", "shuffle-3"]


@pytest.mark.parametrize("make", [SerialIterator, BucketIterator, MultithreadIterator])
def test_an_iterator_that_is_gone_unused_leaves_its_order(tmp_path, make):
    options = {"length": lambda example: 1} if make is BucketIterator else {}
    others = []

    def make_some():
        make(points(), 3, **options)
        with pytest.raises(ValueError, match="larger than the dataset"):
            make(points(), 1000, **options)
        others.append(make(points(), 3, **options))

    alone = parameters(train(tmp_path))
    found = train(tmp_path, before=make_some)
    assert parameters(found)["/W"].tobytes() == alone["/W"].tobytes()
    random.seed(4)
    others = [make(points(), 3, **options) for _ in range(3)]
    orders = [each.order.tolist() for each in others]
    del others[1]
    iterator = make(points(), 3, **options)
    assert iterator.order.tolist() == orders[1]
    iterator.next()
    del others[0]
    StandardUpdater(iterator, SGD().setup(Regression(False)))
    assert iterator.order.tolist() == orders[1]  # at work since its first batch
    del iterator
    free = make(points(), 3, **options)
    assert free.order.tolist() == orders[0]
    used = make(points(), 3, **options)
    assert used.order.tolist() not in orders


def test_an_iterator_takes_a_number_that_came_free_after_it():
    random.seed(2)
    first, second = (SerialIterator(range(50), 50) for _ in range(2))
    order = first.order.tolist()
    del first
    StandardUpdater(second, SGD().setup(Regression(False)))
    assert second.order.tolist() == order
    third = SerialIterator(range(50), 50)
    assert third.order.tolist() != order
    random.seed(2)  # of which what came before has no numbers to leave
    used = SerialIterator(range(50), 50)
    used.next()
    del third
    assert SerialIterator(range(50), 50).order.tolist() != order


def test_iterators_at_work_keep_their_orders():
    random.seed(2)
    first, second = (SerialIterator(range(50), 50) for _ in range(2))
    orders = [list(each.order) for each in (first, second)]
    model = Regression(False)
    both = {"main": second, "other": first}
    StandardUpdater(both, SGD().setup(model))
    assert [list(each.order) for each in (first, second)] == orders
    third, last = (SerialIterator(range(50), 50) for _ in range(2))
    StandardUpdater(third, SGD().setup(model))
    order = list(last.order)
    StandardUpdater(last, SGD().setup(model))
    assert list(last.order) == order


@one_device("no arrays")
def test_two_iterators_have_orders_of_their_own():
    random.seed(2)
    first, second = (SerialIterator(range(50), 50) for _ in range(2))
    orders = [(first.next(), second.next()) for _ in range(3)]
    assert all(a != b for a, b in orders)
    random.seed(2)
    second = SerialIterator(range(50), 50), SerialIterator(range(50), 50)
    assert [second[1].next() for _ in range(3)] == [b for _, b in orders]
    random.seed(2)  # starts those that are there, too
    assert second[0].next() != second[1].next()


def test_evaluations_repeat_their_draws_and_resume(tmp_path):
    model = Drawing()
    evaluator = Evaluator(SerialIterator(points(), 4, repeat=False), model)
    first = evaluator()
    assert evaluator() == first
    random.stream("noise").generator.random(5)
    assert evaluator() == first

    whole = train(tmp_path, ["evaluation"], length=8)
    half = train(tmp_path, ["evaluation"], length=4)
    save_npz(tmp_path / "half.npz", half)
    resumed = train(tmp_path, ["evaluation"], length=1)  # another place in all streams
    resumed.stop_trigger = 8, "iteration"
    random.seed(77)
    load_npz(tmp_path / "half.npz", resumed)
    resumed.run()
    host_values = [
        {k: host(v) for k, v in parameters(t).items()} for t in (resumed, whole)
    ]
    np.testing.assert_equal(*host_values)
    assert resumed.observation == whole.observation


def test_a_weight_that_an_evaluation_needs_first_is_that_of_a_training():
    found = []
    for evaluates in (False, True):
        random.seed(5)
        model = L.Classifier(L.Linear(None, 2))
        dataset = [(xp.ones(3, np.float32), xp.array(1))] * 2
        if evaluates:
            Evaluator(SerialIterator(dataset, 2, repeat=False), model)()
        else:
            model(*concat_examples(dataset))
        found.append(model.predictor.W.array.tobytes())
    assert found[0] == found[1]


@one_device("no arrays")
def test_damaged_counts_of_owners_are_refused(tmp_path):
    class Damaged:
        def serialize(self, s):
            s("names", [])
            s("seed", "0")
            s("owners", {"shuffle": "two"})

    class Streams:
        serialize = staticmethod(random.serialize)

    save_npz(tmp_path / "damaged.npz", Damaged())
    with pytest.raises(SnapshotError, match="owners of random streams are no counts"):
        load_npz(tmp_path / "damaged.npz", Streams())


def test_evaluators_report_under_the_names_that_the_trainer_has(tmp_path):
    trainer = train(tmp_path, length=1)
    model = trainer.updater.get_optimizer().target
    for name in (None, None, "test", "test"):
        iterator = SerialIterator(points(), 4, repeat=False)
        trainer.extend(Evaluator(iterator, model, name=name), trigger=(1, "iteration"))
    iterator = SerialIterator(points(), 4, repeat=False)
    trainer.extend(Evaluator(iterator, model), "other", trigger=(1, "iteration"))
    trainer.stop_trigger = 2, "iteration"
    trainer.run()
    names = {key.split("/")[0] for key in trainer.observation}
    assert names == {"main", "validation", "validation_1", "test", "test_1", "other"}


@pytest.mark.parametrize("interval", [2, 3])
def test_a_trigger_given_to_extend_ends_the_intervals(tmp_path, interval):
    logs = []
    for given in (False, True):
        random.seed(4)
        optimizer = SGD(lr=0.05).setup(Regression())
        updater = StandardUpdater(SerialIterator(points(), 4), optimizer)
        trainer = Trainer(updater, (6, "iteration"), tmp_path)
        trigger = interval, "iteration"
        own = {} if given else {"trigger": trigger}
        extensions = [
            LogReport(filename=None, **own),
            MicroAverage("main/loss", "main/loss", "one", **own),
            PlotReport("main/loss", **own),
        ]
        for extension in extensions:
            trainer.extend(extension, trigger=trigger if given else None)
        trainer.run()
        for row in extensions[0].log:
            row.pop("elapsed_time")
        assert len(extensions[0].log) == 6 // interval
        logs.append((extensions[0].log, extensions[2]._points))
    assert logs[0] == logs[1]


def test_two_triggers_for_one_log_are_refused(tmp_path):
    trainer = train(tmp_path, length=1)
    log = LogReport(trigger=(2, "iteration"))
    with pytest.raises(ValueError, match=r"LogReport has a trigger .* another, Interv"):
        trainer.extend(log, trigger=(1, "epoch"))
    trainer.extend(log, trigger=(1, "iteration"))
    assert log._trigger.period == 2


def test_a_trigger_given_for_a_plateau_says_when_it_looks(tmp_path):
    rates = []
    for own, given in [((2, "iteration"), None), ((1, "epoch"), (2, "iteration"))]:
        updater = StandardUpdater(
            SerialIterator(points(), 4), SGD(lr=1.0).setup(Regression())
        )
        trainer = Trainer(updater, (7, "iteration"), tmp_path)
        plateau = ReduceOnPlateau("lr", 0.5, "worse", mode="max", check_trigger=own)
        trainer.extend(
            lambda trainer: report({"worse": -trainer.updater.iteration}),
            name="worse",
            priority=300,
        )
        trainer.updater.get_optimizer().lr = 1e-3
        trainer.extend(plateau, trigger=given)
        trainer.run()
        rates.append(updater.get_optimizer().lr)
    assert rates == [1e-3 / 4, 1e-3 / 4]


class Half(Chain):
    def __init__(self, value):
        super().__init__()
        with self.init_scope():
            self.w = Parameter(xp.array(value))


def halves(loss=lambda a, b: F.square(a * b - 6.0)):
    models = {"main": Half(1.0), "other": Half(2.0)}
    optimizers = {name: SGD(lr=0.1).setup(model) for name, model in models.items()}
    return models, StandardUpdater(
        SerialIterator(range(4), 2),
        optimizers,
        loss_func=lambda x: loss(models["main"].w, models["other"].w),
    )


def test_all_optimizers_of_a_dictionary_update_their_models():
    models, updater = halves()
    updater.update()
    # d/da (ab - 6)**2 = 2 (ab - 6) b
    assert float(models["main"].w.array) == pytest.approx(1 + 0.1 * 16)
    assert float(models["other"].w.array) == pytest.approx(2 + 0.1 * 8)
    assert [each.t for each in updater.get_all_optimizers().values()] == [1, 1]


@one_device("a device is not waited for")
def test_a_dictionary_of_optimizers_is_updated_as_a_whole_or_not_at_all():
    def partly_nan(a, b):
        return a + F.sqrt(F.square(b - b))

    for loss, error, message in [
        (lambda a, b: a * 2.0, ValueError, "not depend on the model of .* 'other'"),
        (partly_nan, NonFiniteError, "w"),
    ]:
        models, updater = halves(loss)
        with np.errstate(all="ignore"), pytest.raises(error, match=message):
            updater.update()
        assert [float(model.w.array) for model in models.values()] == [1, 2]


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        ("loss", "min"),
        ("validation/main/loss", "min"),
        ("val_perplexity", "min"),
        ("main/accuracy_loss", "min"),
        ("wer", "min"),
        ("validation/main/accuracy", "max"),
        ("val_acc", "max"),
        ("main/F1", "max"),
        ("macroF1", "max"),
        ("f1_score", "max"),
        ("validation/main/macro_f1", "max"),
        ("main/precision/3", "max"),
        ("BLEU", "max"),
        ("r2", "max"),
        ("bits_per_character", "min"),
    ],
)
def test_auto_goes_by_the_words_of_a_name(name, mode):
    better = {"min": [3.0, 2.0, 1.0, 0.5], "max": [1.0, 2.0, 3.0, 4.0]}[mode]
    for values, expected in [(better, []), (better[::-1], [3, 4])]:
        trigger = EarlyStoppingTrigger((1, "iteration"), name, patience=2)
        value = dict(enumerate(values, 1)).get
        assert fired(trigger, 4, **{name: value}) == expected


@one_device("no arrays")
def test_auto_does_not_guess():
    with pytest.raises(ValueError, match="better, its name does not tell: say mode="):
        EarlyStoppingTrigger(monitor="main/value")
    assert EarlyStoppingTrigger(monitor="main/value", mode="max").patience == 3


class Undeclared(Chain):
    """Carries a state that it does not declare, and has no ``reset_state``."""

    def __init__(self):
        super().__init__()
        with self.init_scope():
            self.W = Parameter(xp.ones((2, 2)))
        self.h, self.seen = xp.zeros((1, 2)), []

    def forward(self, x):
        self.h = F.tanh(F.linear(self.h, self.W) + x).array
        self.seen.append(len(self.seen))
        self.loss = F.mean(F.square(self.h))
        return self.loss


def test_an_evaluation_without_a_trainer_changes_no_state():
    model = Undeclared()
    model(xp.ones((1, 2)))
    before, seen = model.h, list(model.seen)
    evaluator = Evaluator(SerialIterator([xp.ones(2)] * 3, 1, repeat=False), model)
    first = evaluator()
    assert model.h is before
    assert model.seen == seen
    assert evaluator() == first


def test_all_iterators_are_finalized_even_if_one_raises():
    class Failing(SerialIterator):
        finalized = 0

        def finalize(self):
            Failing.finalized += 1
            raise OSError("no more")

    both = {name: Failing(points(), 3) for name in ("main", "other")}
    updater = StandardUpdater(both, SGD().setup(Regression()))
    with pytest.raises(OSError, match="no more"):
        updater.finalize()
    assert Failing.finalized == 2
