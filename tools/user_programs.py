"""Training programs as users write them, for `tools.resume_programs` to cut.

Each function here is a program, told by its name. It returns an updater, or an updater
and what to add to the trainer: extensions, or functions ``add_...`` of the trainer.
"""

import collections
import dataclasses
import functools
import io
import math
import random

import numpy as np

import dyrnn
import dyrnn.functions as F
import dyrnn.links as L
from dyrnn import extensions, iterators, optimizer_hooks, optimizers
from dyrnn.training import BPTTUpdater, Extension, StandardUpdater, make_extension
from dyrnn.training.triggers import Trigger
from tools.small_training import VOCABULARY, SmallModel, StatelessModel, text

X = np.random.default_rng(3).normal(size=(10, 3)).astype(np.float32)
T = X @ np.array([[1.0], [2.0], [3.0]], np.float32)
EXAMPLES = list(zip(X, T, strict=True))


def _shuffled(
    kind=StandardUpdater, iterator=None, model=None, optimizer=None, **options
):
    """Return an updater of ten examples; by default, of a model with dropout."""
    optimizer = (optimizer or optimizers.Adam(0.02)).setup(model or StatelessLoss())
    return kind(iterator or iterators.SerialIterator(EXAMPLES, 4), optimizer, **options)


def _language(model=None, optimizer=None, **options):
    """Return an updater along a text."""
    model = model or L.Classifier(SmallModel(), accfun=None)
    optimizer = (optimizer or optimizers.Adam(0.02)).setup(model)
    iterator = iterators.ParallelSequentialIterator(text(61), 4)
    return BPTTUpdater(iterator, optimizer, 3, **options)


def _adding(extension, **options):
    def add_extension(trainer):
        trainer.extend(extension, **options)

    return add_extension


class StatelessLoss(StatelessModel):
    """A mean squared error; ``scale`` is for a program to change."""

    scale = 1.0

    def forward(self, x, t):
        """Return the loss."""
        return F.mean_squared_error(super().forward(x), t) * float(self.scale)


def _optimizer_of(trainer):
    """Return the main optimizer."""
    return trainer.updater.get_optimizer()


def _extending(*extras, updater=_shuffled, **options):
    """Return a trainer's updater and the extensions to add."""
    return updater(**options), extras


# ---- updaters ----


class Core(StandardUpdater):
    """An updater of the user's; ``step(loss)`` ends an update."""

    def update_core(self):
        x, t = self.converter(self.get_iterator().next(), self.device)
        self.step(self.get_optimizer().target(*self.change(x, t)))

    def change(self, x, t):
        return x, t

    def step(self, loss):
        optimizer = self.get_optimizer()
        optimizer.target.cleargrads()
        loss.backward()
        optimizer.update()


def gradients_added_up():
    class Own(Core):
        def step(self, loss):
            (loss / 4).backward()
            if self.iteration % 4 == 3:
                self.get_optimizer().update()
                self.get_optimizer().target.cleargrads()

    return _shuffled(Own)


def gradients_added_up_by_a_counter():
    class Own(Core):
        seen = 0

        def step(self, loss):
            loss.backward()
            self.seen += 1
            if self.seen == 3:
                self.seen = 0
                self.get_optimizer().update()
                self.get_optimizer().target.cleargrads()

    return _shuffled(Own)


def updater_with_a_mean_of_losses():
    class Own(Core):
        mean = None

        def step(self, loss):
            now = float(loss.array)
            self.mean = now if self.mean is None else 0.9 * self.mean + 0.1 * now
            self.get_optimizer().lr = 0.01 * min(2.0, self.mean)
            super().step(loss)

    return _shuffled(Own)


def updater_with_a_list_of_losses():
    class Own(Core):
        def __init__(self, *args, **options):
            super().__init__(*args, **options)
            self.past = []

        def step(self, loss):
            self.past.append(loss.array)
            self.get_optimizer().lr = 0.01 * min(2.0, float(np.median(self.past)))
            super().step(loss)

    return _shuffled(Own)


def updater_with_noise_of_numpy():
    class Own(Core):
        def __init__(self, *args, **options):
            super().__init__(*args, **options)
            self.rng = np.random.default_rng(1)

        def change(self, x, t):
            return x + self.rng.normal(size=x.shape).astype(x.dtype), t

    return _shuffled(Own)


def updater_with_numpys_old_generator():
    class Own(Core):
        def __init__(self, *args, **options):
            super().__init__(*args, **options)
            self.rng = np.random.RandomState(1)

        def change(self, x, t):
            return x + self.rng.randn(*x.shape).astype(x.dtype), t

    return _shuffled(Own)


def updater_that_skips_by_pythons_random():
    class Own(Core):
        def __init__(self, *args, **options):
            super().__init__(*args, **options)
            self.random = random.Random(4)

        def step(self, loss):
            if self.random.random() < 0.7:
                super().step(loss)

    return _shuffled(Own)


def updater_with_a_dictionary():
    class Own(Core):
        def __init__(self, *args, **options):
            super().__init__(*args, **options)
            self.counts = {}

        def step(self, loss):
            key = int(loss.array * 2)
            self.counts[key] = self.counts.get(key, 0) + 1
            super().step(loss * (1 / self.counts[key]))

    return _shuffled(Own)


def updater_of_two_models_in_turn():
    class Own(StandardUpdater):
        turn = 0

        def update_core(self):
            x, t = self.converter(self.get_iterator().next(), self.device)
            names = ["main", "other"]
            optimizer = self.get_optimizer(names[self.turn % 2])
            self.turn += 1 + self.iteration % 2
            optimizer.target.cleargrads()
            optimizer.target(x, t).backward()
            optimizer.update()

    both = {name: optimizers.Adam(0.02) for name in ("main", "other")}
    for each in both.values():
        each.setup(StatelessLoss())
    return Own(iterators.SerialIterator(EXAMPLES, 4), both)


def updater_with_a_falling_probability():
    class Own(Core):
        keep = 1.0

        def change(self, x, t):
            self.keep *= 0.9
            return F.dropout(x, 1 - self.keep), t

    return _shuffled(Own)


def updater_with_a_window_of_norms():
    class Own(Core):
        def __init__(self, *args, **options):
            super().__init__(*args, **options)
            self.norms = collections.deque(maxlen=3)

        def step(self, loss):
            self.norms.append(float(loss.array))
            super().step(loss * (1 / sum(self.norms)))

    return _shuffled(Own)


class Meter:
    """Counts; a helper as many programs have one."""

    def __init__(self):
        self.total, self.count = 0.0, 0

    def add(self, value):
        self.total += value
        self.count += 1
        return self.total / self.count


def updater_with_a_helper():
    class Own(Core):
        def __init__(self, *args, **options):
            super().__init__(*args, **options)
            self.meter = Meter()

        def step(self, loss):
            super().step(loss * self.meter.add(float(loss.array)))

    return _shuffled(Own)


def updater_with_a_stream():
    class Own(Core):
        def change(self, x, t):
            noise = dyrnn.random.stream("mine").generator.normal(size=x.shape)
            return x + noise.astype(x.dtype), t

    return _shuffled(Own)


def updater_with_a_buffer_of_batches():
    class Own(Core):
        def __init__(self, *args, **options):
            super().__init__(*args, **options)
            self.buffer = []

        def change(self, x, t):
            self.buffer = [*self.buffer, (x, t)][-3:]
            return self.buffer[0]

    return _shuffled(Own)


def updater_with_its_own_serialize():
    class Own(Core):
        scale = 1.0

        def step(self, loss):
            self.scale *= 0.9
            super().step(loss * self.scale)

        def serialize(self, s):
            super().serialize(s)
            self.scale = s("scale", self.scale)

    return _shuffled(Own)


def updater_with_moments_as_arrays():
    class Own(Core):
        moments = None

        def step(self, loss):
            params = list(self.get_optimizer().target.params())
            if self.moments is None:
                self.moments = [np.zeros_like(p.array) for p in params]
            for p, moment in zip(params, self.moments, strict=True):
                moment += 0.1 * p.array
                p.array -= 0.01 * moment
            super().step(loss)

    return _shuffled(Own)


# ---- iterators, datasets, converters ----


class Cycle:
    """An iterator of the user's."""

    epoch, epoch_detail = 0, 0.0

    def __init__(self):
        self.place = 0

    def next(self):
        self.place += 3
        self.epoch_detail = self.place / 10
        self.epoch = self.place // 10
        return [EXAMPLES[(self.place + k) % 10] for k in range(3)]


def iterator_without_serialize():
    return _shuffled(iterator=Cycle())


def iterator_with_serialize():
    class Saved(Cycle):
        def serialize(self, s):
            self.place = s("place", self.place)

    return _shuffled(iterator=Saved())


def iterator_by_a_generator():
    class Generated:
        epoch, epoch_detail = 0, 0.0

        def __init__(self):
            self.batches = (EXAMPLES[k % 7 : k % 7 + 3] for k in range(1000))

        def next(self):
            return next(self.batches)

    return _shuffled(iterator=Generated())


def iterator_that_counts():
    class Own(iterators.SerialIterator):
        calls = 0

        def __next__(self):
            self.calls += 1
            return super().__next__()[: 1 + self.calls % 3]

        next = __next__

    return _shuffled(iterator=Own(EXAMPLES, 4))


def iterator_ordered_by_a_closure():
    rng = np.random.default_rng(5)

    def order(_order, _position):
        return rng.permutation(10)

    iterator = iterators.SerialIterator(EXAMPLES, 4, order_sampler=order)
    return _shuffled(iterator=iterator)


def iterator_on_threads():
    return _shuffled(iterator=iterators.MultithreadIterator(EXAMPLES, 4, n_threads=2))


def iterator_over_windows():
    iterator = iterators.WindowIterator(text(61), 4, 3)
    model = L.Classifier(SmallModel(), accfun=None)
    return BPTTUpdater(iterator, optimizers.Adam(0.02).setup(model))


def iterators_of_two_kinds():
    class Own(Core):
        def change(self, x, t):
            other = self.converter(self.get_iterator("other").next(), self.device)
            return x + 0.1 * other[0][: len(x)], t

    both = {
        "main": iterators.SerialIterator(EXAMPLES, 3),
        "other": iterators.SerialIterator(EXAMPLES[2:], 3),
    }
    return _shuffled(Own, iterator=both)


class Augmented:
    """A dataset that draws."""

    def __init__(self, rng):
        self.rng, self.seen = rng, 0

    def __len__(self):
        return 10

    def __getitem__(self, k):
        self.seen += 1
        noise = self.rng.normal(size=3) if hasattr(self.rng, "normal") else self.rng()
        return (X[k] + 0.1 * noise).astype(np.float32), T[k] + self.seen % 2


def dataset_that_draws():
    data = Augmented(np.random.default_rng(0))
    return _shuffled(iterator=iterators.SerialIterator(data, 4))


def dataset_that_draws_from_a_stream():
    stream = dyrnn.random.stream("augment")
    data = Augmented(lambda: stream.generator.normal(size=3))
    return _shuffled(iterator=iterators.SerialIterator(data, 4))


def converter_with_a_closure():
    calls = 0

    def convert(batch, device):
        nonlocal calls
        calls += 1
        x, t = dyrnn.datasets.concat_examples(batch, device)
        return x * np.float32(1 + calls / 10), t

    return _shuffled(converter=convert)


def converter_that_draws():
    class Convert:
        def __init__(self):
            self.rng = np.random.default_rng(0)

        def __call__(self, batch, device):
            x, t = dyrnn.datasets.concat_examples(batch, device)
            return x + self.rng.normal(size=x.shape).astype(np.float32), t

    return _shuffled(converter=Convert())


def loss_function_that_counts():
    model, calls = StatelessLoss(), [0]

    def loss(x, t):
        calls[0] += 1
        return model(x, t) * (1 + calls[0] % 3)

    return _shuffled(model=model, loss_func=loss)


# ---- extensions ----


def extension_with_a_best_value():
    class Halve:
        best, waited = math.inf, 0

        def __call__(self, trainer):
            loss = float(trainer.observation["main/loss"])
            self.waited = 0 if loss < self.best else self.waited + 1
            self.best = min(loss, self.best)
            if self.waited >= 2:
                _optimizer_of(trainer).lr *= 0.5

    return _extending(Halve())


def extension_with_a_closure():
    best = [math.inf]

    def halve(trainer):
        loss = float(trainer.observation["main/loss"])
        if loss > best[0]:
            _optimizer_of(trainer).lr *= 0.8
        best[0] = min(best[0], loss)

    return _extending(halve)


def extension_with_nonlocal_numbers():
    count, mean = 0, None

    def scale(trainer):
        nonlocal count, mean
        count += 1
        loss = float(trainer.observation["main/loss"])
        mean = loss if mean is None else (mean + loss) / 2
        _optimizer_of(trainer).lr = 0.02 * mean / (1 + mean) / count**0.5

    return _extending(scale)


def extension_that_counts_in_its_function():
    def count(trainer):
        count.calls += 1
        _optimizer_of(trainer).lr = 0.02 / count.calls

    count.calls = 0
    return _extending(count)


def extension_with_a_dictionary():
    class Own(Extension):
        def __init__(self):
            self.seen = {}

        def __call__(self, trainer):
            key = trainer.updater.epoch
            self.seen.setdefault(key, []).append(trainer.observation["main/loss"])
            _optimizer_of(trainer).lr = 0.01 * len(self.seen[key]) + 0.001

    return _extending(Own())


def extension_that_averages_weights():
    class Averages:
        def __init__(self):
            self.means = {}

        def __call__(self, trainer):
            model = _optimizer_of(trainer).target
            for path, param in model.namedparams():
                mean = self.means.setdefault(path, param.array.copy())
                mean += 0.1 * (param.array - mean)
                if trainer.updater.iteration % 5 == 0:
                    param.array[...] = mean

    return _extending(Averages())


def extension_that_draws():
    class Perturbs(Extension):
        def __init__(self):
            self.rng = np.random.default_rng(0)

        def __call__(self, trainer):
            for param in _optimizer_of(trainer).target.params():
                param.array += 0.01 * self.rng.normal(size=param.shape)

    return _extending(Perturbs())


def extension_that_changes_dropout():
    class Anneals:
        calls = 0

        def __call__(self, trainer):
            self.calls += 1
            model = _optimizer_of(trainer).target.predictor
            model.dropout = 0.5 / self.calls

    return _extending(Anneals(), updater=_language)


def extension_that_freezes():
    class Freezes:
        left = 4

        def __call__(self, trainer):
            self.left -= 1
            model = _optimizer_of(trainer).target
            (model.first.disable_update if self.left > 0 else model.enable_update)()

    return _extending(Freezes())


def extension_that_is_a_method():
    class Experiment:
        def __init__(self):
            self.log, self.rate = [], 0.02

        def after(self, trainer):
            self.log.append(float(trainer.observation["main/loss"]))
            self.rate *= 0.9 + 0.01 * len(self.log)
            _optimizer_of(trainer).lr = self.rate

    return _extending(Experiment().after)


def extension_that_makes_its_attribute_late():
    class Own(Extension):
        def __call__(self, trainer):
            if trainer.updater.iteration >= 4:
                self.calls = getattr(self, "calls", 0) + 1
                _optimizer_of(trainer).lr = 0.02 / (1 + self.calls)

    return _extending(Own())


def extension_that_stops_early():
    class Stops:
        def __init__(self):
            self.past = collections.deque(maxlen=4)

        def __call__(self, trainer):
            self.past.append(float(trainer.observation["main/loss"]))
            _optimizer_of(trainer).lr = 0.01 * len(self.past)
            if len(self.past) == 4 and self.past[-1] > 40 * self.past[0]:
                trainer.stop_trigger = (1, "iteration")

    return _extending(Stops())


def extension_that_changes_bprop_len():
    class Longer:
        def __init__(self):
            self.steps = iter_free(2, 6)

        def __call__(self, trainer):
            self.steps = [*self.steps[1:], self.steps[0]]
            trainer.updater.bprop_len = self.steps[0]

    def iter_free(first, last):
        return list(range(first, last))

    return _extending(Longer(), updater=_language)


def extension_with_a_helper():
    class Own:
        def __init__(self):
            self.meters = {"loss": Meter()}

        def __call__(self, trainer):
            mean = self.meters["loss"].add(float(trainer.observation["main/loss"]))
            _optimizer_of(trainer).lr = 0.01 * mean

    return _extending(Own())


def extension_that_begins_in_initialize():
    class Own(Extension):
        def initialize(self, trainer):
            self.calls, self.first = 0, None

        def __call__(self, trainer):
            self.calls += 1
            if self.first is None:
                self.first = float(trainer.observation["main/loss"])
            _optimizer_of(trainer).lr = 0.01 * self.first / self.calls

    return _extending(Own())


def extension_called_before_training():
    class Own:
        calls = 0

        def __call__(self, trainer):
            self.calls += 1
            _optimizer_of(trainer).lr = 0.02 / self.calls

    return _shuffled(), (_adding(Own(), call_before_training=True),)


def extension_of_a_logs_class():
    class Own(extensions.LogReport):
        shown = 0

        def __call__(self, trainer):
            super().__call__(trainer)
            self.shown += 1
            _optimizer_of(trainer).lr = 0.02 / self.shown

    return _extending(Own(trigger=(5, "iteration")))


def extension_with_a_partial_function():
    def change(rates, trainer):
        _optimizer_of(trainer).lr = rates[trainer.updater.iteration % 3]

    return _extending(functools.partial(change, [0.01, 0.02, 0.03]))


def extension_that_is_decorated():
    calls = []

    @make_extension(trigger=(2, "iteration"))
    def change(trainer):
        calls.append(trainer.updater.iteration)
        _optimizer_of(trainer).lr = 0.02 / len(calls)

    return _extending(change)


def extension_that_opens_a_file_late():
    class Own(Extension):
        file, lines = None, 0

        def __call__(self, trainer):
            if self.file is None:
                self.file = io.StringIO()
            self.lines += 1
            print(self.lines, file=self.file)
            _optimizer_of(trainer).lr = 0.02 / self.lines

    return _extending(Own())


def extension_that_resets_the_optimizer():
    class Own:
        calls = 0

        def __call__(self, trainer):
            self.calls += 1
            if self.calls == 5:
                _optimizer_of(trainer).setup(_optimizer_of(trainer).target)

    return _extending(Own())


def extension_that_changes_a_hook():
    def make():
        updater = _shuffled()
        updater.get_optimizer().add_hook(optimizer_hooks.GradientClipping(1.0))
        return updater

    class Own:
        factor = 1.0

        def __call__(self, trainer):
            self.factor *= 0.8
            _optimizer_of(trainer).hooks["GradientClipping"].threshold = self.factor

    return _extending(Own(), updater=make)


def extension_that_adds_a_hook():
    def add(trainer):
        if trainer.updater.iteration == 5:
            _optimizer_of(trainer).add_hook(optimizer_hooks.GradientClipping(0.1))

    return _extending(add)


def trigger_with_a_closure():
    calls = [0]

    def fires(trainer):
        calls[0] += 1
        return calls[0] % 3 == 1

    def halve(trainer):
        _optimizer_of(trainer).lr *= 0.7

    return _shuffled(), (_adding(halve, trigger=fires),)


def trigger_of_a_class():
    class Every(Trigger):
        left = 3

        def __call__(self, trainer):
            self.left -= 1
            if self.left == 0:
                self.left = 4
            return self.left == 4

    def halve(trainer):
        _optimizer_of(trainer).lr *= 0.7

    return _shuffled(), (_adding(halve, trigger=Every()),)


# ---- models ----


class Recurrent(dyrnn.Chain):
    """A _language model of one cell; ``change`` is the program's."""

    carried = ("h",)

    def __init__(self):
        super().__init__()
        with self.init_scope():
            self.embed = L.EmbedID(VOCABULARY, 5)
            self.inner = L.Linear(5, 5)
            self.out = L.Linear(5, VOCABULARY)
        self.h = None
        self.prepare()

    def prepare(self):
        pass

    def change(self, h):
        return h

    def forward(self, x, t):
        if x.ndim == 1:
            return self.step(x, t)
        return sum(self.step(*each) for each in zip(x, t, strict=True)) / len(x)

    def step(self, x, t):
        y = self.embed(x)
        if self.h is not None:
            y = y + self.inner(self.h)
        self.h = F.tanh(self.change(y))
        return F.softmax_cross_entropy(self.out(self.h), t)


def _model_that(prepare, change, **members):
    """Return the updater of a model with these methods."""
    methods = {"prepare": prepare, "change": change, **members}
    return _language(type("Own", (Recurrent,), methods)(), window=False)


def _set(**values):
    def prepare(self):
        for name, make in values.items():
            setattr(self, name, make() if callable(make) else make)

    return prepare


def _scaled(function):
    return lambda self, h: h * float(function(self))


def model_that_counts():
    def change(self):
        self.calls += 1
        return 1 + self.calls % 3

    return _model_that(_set(calls=0), _scaled(change))


def model_with_a_mean_as_an_array():
    def change(self, h):
        self.mean += 0.1 * (h.array.mean(0) - self.mean)
        return h - self.mean

    return _model_that(_set(mean=lambda: np.zeros(5, np.float32)), change)


def model_with_a_mean_made_anew():
    def change(self, h):
        self.mean = 0.9 * self.mean + 0.1 * h.array.mean(0)
        return h - self.mean

    return _model_that(_set(mean=lambda: np.zeros(5, np.float32)), change)


def _reset(*names):
    def reset_state(self):
        super(type(self), self).reset_state()
        for name in names:
            getattr(self, name).clear()

    return reset_state


def model_with_a_list_that_is_reset():
    def change(self):
        self.words.append(len(self.words) % 3)
        return 1 + sum(self.words[-2:])

    return _model_that(_set(words=list), _scaled(change), reset_state=_reset("words"))


def model_with_a_dictionary_that_is_reset():
    def change(self):
        self.seen["n"] = self.seen.get("n", 0) + 1
        return 1 + self.seen["n"] % 4

    return _model_that(_set(seen=dict), _scaled(change), reset_state=_reset("seen"))


def model_with_an_array_that_is_reset():
    def change(self, h):
        self.memory[...] = np.roll(self.memory, 1)
        self.memory[0] = h.array.mean()
        return h + self.memory

    def reset_state(self):
        Recurrent.reset_state(self)
        self.memory[...] = 0

    make = _set(memory=lambda: np.zeros(5, np.float32))
    return _model_that(make, change, reset_state=reset_state)


def model_with_a_set():
    def change(self):
        self.seen.add(len(self.seen) ** 2 % 5)
        return 1 + len(self.seen)

    return _model_that(_set(seen=set), _scaled(change))


def model_that_draws():
    def change(self, h):
        return h + self.rng.normal(size=h.shape).astype(h.dtype)

    return _model_that(_set(rng=lambda: np.random.default_rng(1)), change)


def model_with_a_helper():
    return _model_that(
        _set(meter=Meter), _scaled(lambda self: self.meter.add(0.5) + self.meter.count)
    )


def model_with_a_deque():
    def change(self):
        self.past.append(len(self.past) + sum(self.past) % 3)
        return 1 + self.past[0]

    return _model_that(
        _set(past=lambda: collections.deque([1], maxlen=3)), _scaled(change)
    )


def model_whose_state_begins_late():
    def change(self):
        self.calls += 1
        if self.calls > 14:
            self.late = [*(self.late or []), self.calls % 3]
        return 1 + sum(self.late or [])

    return _model_that(_set(calls=0, late=None), _scaled(change))


def model_with_a_text():
    def change(self):
        self.mode = {"cold": "warm", "warm": "hot"}.get(self.mode, "cold")
        return len(self.mode)

    return _model_that(_set(mode="cold"), _scaled(change))


def model_with_a_switch():
    def change(self):
        self.is_odd = not self.is_odd
        return 1 + self.is_odd

    return _model_that(_set(is_odd=False), _scaled(change))


def model_with_a_persistent_array():
    def prepare(self):
        self.add_persistent("seen", np.zeros(3))

    def change(self):
        self.seen += 1
        return 1 + self.seen[0] % 3

    return _model_that(prepare, _scaled(change))


def model_that_keeps_what_it_computed():
    def change(self, h):
        self.last, self.norm = h, (h * h).array.sum()
        return h

    return _model_that(_set(last=None, norm=None), change)


def model_with_its_own_serialize():
    def change(self):
        self.n += 1
        return 1 + self.n % 3

    def serialize(self, s):
        Recurrent.serialize(self, s)
        self.n = s("n", self.n)

    return _model_that(_set(n=0), _scaled(change), serialize=serialize)


def model_with_tied_weights():
    class Tied(Recurrent):
        def prepare(self):
            with self.init_scope():
                self.again = self.inner

        def change(self, h):
            return self.again(h)

    return _language(Tied(), window=False)


def model_with_sizes_found_late():
    return _shuffled(model=L.Classifier(L.Linear(None, 1), F.mean_squared_error, None))


def model_with_a_persistent_array_that_grows():
    def prepare(self):
        self.add_persistent("seen", np.zeros(1))

    def change(self):
        self.seen = np.append(self.seen, 1.0)
        return 1

    return _model_that(prepare, _scaled(change))


def model_that_carries_a_list():
    def change(self, h):
        self.past = [self.h]
        return h

    return _model_that(_set(past=None), change, carried=("h", "past"))


def model_with_a_variable_undeclared():
    def change(self, h):
        self.g = h if self.g is None else 0.5 * (self.g + h)
        return self.g

    return _model_that(_set(g=None), change)


def model_with_a_list_of_variables():
    def change(self, h):
        self.past = [*self.past[-2:], h]
        return sum(self.past)

    return _model_that(_set(past=list), change)


def model_with_a_dictionary_of_variables():
    def change(self, h):
        h = h + self.past.get("h", 0)
        self.past["h"] = h
        return h

    return _model_that(_set(past=dict), change)


def model_with_a_generator_of_python():
    def change(self):
        self.noise = (each + 1 for each in list(self.noise))
        return 1

    return _model_that(_set(noise=lambda: (k for k in range(3))), _scaled(change))


# ---- optimizers and hooks ----


def optimizer_of_ones_own():
    @dataclasses.dataclass(eq=False)
    class Own(optimizers.optimizer.Optimizer):
        lr: float = 0.01
        states = {"v": 0.0}

        @staticmethod
        def rule(p, g, v, lr):
            v *= 0.9
            v += g
            p -= lr * v

    return _shuffled(optimizer=Own())


def optimizer_that_counts():
    class Own(optimizers.SGD):
        def __post_init__(self):
            super().__post_init__()
            self.calls = 0

        def update(self, *args, **options):
            self.calls += 1
            self.lr = 0.02 / self.calls
            super().update(*args, **options)

    return _shuffled(optimizer=Own(lr=0.02))


def hook_with_arrays():
    class Smooth:
        name = "Smooth"

        def __init__(self):
            self.means = {}

        def __call__(self, optimizer):
            for path, param in optimizer.target.namedparams():
                mean = self.means.get(path, 0.0) * 0.5 + 0.5 * param.grad
                self.means[path] = mean
                param.grad = mean

    updater = _shuffled()
    updater.get_optimizer().add_hook(Smooth())
    return updater


def hook_with_a_closure():
    rng = np.random.default_rng(2)

    def noise(optimizer):
        for param in optimizer.target.params():
            param.grad = param.grad + 0.1 * rng.normal(size=param.shape).astype("f")

    updater = _shuffled()
    updater.get_optimizer().add_hook(noise, "noise")
    return updater


def rows_that_become_lazy():
    def change(trainer):
        _optimizer_of(trainer).lazy_rows = trainer.updater.iteration > 4

    return _extending(change, updater=_language)
