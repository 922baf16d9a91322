"""Examples that are sequences: time comes first, and each batch starts afresh.

A recurrent layer that is given them otherwise by an updater or an Evaluator refuses.
"""

import functools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dyrnn.functions as F
import dyrnn.links as L
from dyrnn import Chain, Sequential, iterators
from dyrnn.datasets import concat_examples, time_major
from dyrnn.errors import ShapeError
from dyrnn.extensions import Evaluator
from dyrnn.optimizers import SGD
from dyrnn.reporter import Observation, Reporter
from dyrnn.training import BPTTUpdater, StandardUpdater
from tests.arrays import every_device, one_device, xp

pytestmark = every_device

LAYERS = [L.LSTM, L.GRU, L.ElmanRNN, L.StatefulGRU, L.StatefulPeepholeLSTM]


class Forecaster(Chain):
    """Says the next value after each step; ``resets`` as it should, or not."""

    def __init__(self, layer=L.LSTM, resets=True, embeds=False):
        super().__init__()
        self.resets = resets
        with self.init_scope():
            self.rnn, self.out = layer(2, 3), L.Linear(3, 1)
            self.embed = L.EmbedID(4, 2) if embeds else None

    def predict(self, x):
        if self.resets:
            self.reset_state()
        return self.out(self.rnn(x if self.embed is None else self.embed(x)))

    def forward(self, x, t, lengths=None):
        y = self.predict(x)
        if lengths is None:
            return F.mean_squared_error(y, t)
        lengths = self.xp.asarray(lengths)
        mask = (self.xp.arange(len(x))[:, None] < lengths)[..., None]
        loss = F.where(mask, F.squared_error(y, t), 0.0).sum() / mask.sum()
        loss.count = mask.sum()
        return loss


def examples(lengths, dtype=np.float32):
    draw = xp.random.default_rng(0).normal
    return [
        (draw(size=(n, 2)).astype(dtype), draw(size=(n, 1)).astype(dtype))
        for n in lengths
    ]


def updater_of(
    data, model, batch_size, converter=time_major, device=None, shuffle=True
):
    iterator = iterators.SerialIterator(data, batch_size, shuffle=shuffle)
    return StandardUpdater(iterator, SGD(0.1).setup(model), converter, device)


@settings(max_examples=25)
@given(
    st.lists(st.integers(1, 6), min_size=1, max_size=5),
    st.sampled_from(LAYERS),
    st.booleans(),
)
def test_a_batch_gives_what_each_sequence_gives_alone(lengths, layer, is_dict):
    data, model = examples(lengths), Forecaster(layer)
    batch = [dict(zip("xt", each, strict=True)) for each in data] if is_dict else data
    arrays = time_major(batch, padding=0)
    x, t, found = arrays.values() if is_dict else arrays
    assert found.tolist() == lengths
    y = model.predict(x).array
    total = 0.0
    for b, (one, target) in enumerate(data):
        alone = model.predict(one[:, None]).array[:, 0]
        xp.testing.assert_allclose(y[: len(one), b], alone, rtol=1e-5, atol=1e-6)
        xp.testing.assert_array_equal(t[: len(one), b], target)
        total += float(xp.square(alone - target).sum())
    loss = model(x, t, found)
    assert float(loss.array) == pytest.approx(total / sum(lengths), rel=1e-5)
    if len(set(lengths)) == 1:  # then nothing needs padding
        equal = time_major(data)
        xp.testing.assert_array_equal(equal[0], x)
        assert len(equal) == 2


def test_training_and_evaluation_are_those_of_the_single_sequences(device):
    data, model = examples([5] * 6, np.float64), Forecaster()
    for parameter in model.params():
        parameter.array = parameter.array.astype(np.float64)
    updater = updater_of(data, model, 6, device=device)

    def mean_alone():
        losses = [model(*time_major([each], device)).array for each in data]
        return np.mean([float(loss) for loss in losses])

    losses = []
    for _ in range(3):
        expected = mean_alone()
        updater.update()
        losses.append(float(updater.mean_loss))
        assert losses[-1] == pytest.approx(expected, rel=1e-12)
    assert losses[2] < losses[0]
    held_out = iterators.SerialIterator(data, 4, repeat=False, shuffle=False)
    observation = Observation()
    with Reporter().scope(observation):
        Evaluator(held_out, model, time_major, device)()
    (loss,) = observation.values()
    assert float(loss) == pytest.approx(mean_alone(), rel=1e-12)


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("embeds", [False, True])
def test_a_window_with_the_batch_first_is_refused(layer, embeds):
    model = Forecaster(layer, embeds=embeds)
    before = [parameter.array.copy() for parameter in model.params()]
    data = examples([5] * 6)
    if embeds:
        data = [(x.astype(np.int32)[:, 0] % 4, t) for x, t in data]
    with pytest.raises(ShapeError, match=r"\(3, 5, 2\).*converter=.*time_major"):
        updater_of(data, model, 3, concat_examples).update()
    for parameter, array in zip(model.params(), before, strict=True):
        xp.testing.assert_array_equal(parameter.array, array)
    held_out = iterators.SerialIterator(data, 3, repeat=False)
    with pytest.raises(ShapeError, match="time_major"):
        Evaluator(held_out, model)()


def test_as_many_examples_as_steps_are_no_excuse():
    with pytest.raises(ShapeError, match="time_major"):
        updater_of(examples([4] * 8), Forecaster(), 4, concat_examples).update()
    updater_of(examples([4] * 8), Forecaster(), 4).update()


@pytest.mark.parametrize("below", ["embedding", "linear", "both", "tanh"])
def test_nor_are_they_behind_what_goes_row_by_row(below):
    class Deep(Forecaster):
        def __init__(self):
            super().__init__()
            with self.init_scope():
                self.words, self.linear = L.EmbedID(5, 2), L.Linear(2, 2)

        def predict(self, x):
            self.reset_state()
            x = self.words(x) if below in ("embedding", "both") else x
            x = self.linear(x) * 0.5 + 1 if below in ("linear", "both") else x
            return self.out(self.rnn(F.dropout(F.tanh(x), 0.1)))

    class Turning(Deep):
        def forward(self, x, t):
            return super().forward(xp.swapaxes(x, 0, 1), xp.swapaxes(t, 0, 1))

    class TurningLater(Deep):
        def __init__(self):
            super().__init__()
            self.rnn, rnn = None, self.rnn
            with self.init_scope():
                self.rnn = Sequential(lambda x: F.swapaxes(x, 0, 1), rnn)

        def forward(self, x, t):
            return super().forward(x, xp.swapaxes(t, 0, 1))

    data = examples([4] * 8)
    if below in ("embedding", "both"):
        data = [((abs(x[:, 0]) * 2 % 5).astype(np.int32), t) for x, t in data]
    with pytest.raises(ShapeError, match="time_major"):
        updater_of(data, Deep(), 4, concat_examples).update()
    held_out = iterators.SerialIterator(data, 4, repeat=False)
    with pytest.raises(ShapeError, match="time_major"):
        Evaluator(held_out, Deep())()
    updater_of(data, Deep(), 4).update()
    for model in (Turning(), TurningLater()):
        updater_of(data, model, 4, concat_examples).update()


def test_sequences_of_numbers_that_are_read_as_one_step_are_warned_of_once():
    def numbers(batch):
        return [(x[:, 0], t[0]) for x, t in batch]

    class Last(Forecaster):
        def __init__(self, n):
            super().__init__()
            with self.init_scope():
                self.rnn = L.LSTM(n, 3)

        def forward(self, x, t):
            self.reset_state()
            for _ in range(self.steps):
                y = self.rnn(x)
            last = y[-1] if y.ndim == 3 else y
            return F.mean_squared_error(self.out(last), t)

        steps = 1

    data, model = numbers(examples([5] * 6)), Last(5)
    updater = updater_of(data, model, 3, concat_examples)
    with pytest.warns(UserWarning, match=r"LSTM.*\(3, 5\).*x\[:, None\].*time_major"):
        updater.update()
    updater.update()
    Evaluator(iterators.SerialIterator(data, 3, repeat=False), model)()
    model = Last(5)
    model.steps = 2  # which no sequence is: the same input twice
    updater_of(data, model, 3, concat_examples).update()
    data = [(x[:, None], t) for x, t in data]
    updater_of(data, Last(1), 3).update()


@pytest.mark.parametrize("batch_size", [1, 3])
def test_the_state_of_another_batch_is_refused(batch_size):
    data, model = examples([5] * 6), Forecaster(resets=False)
    updater = updater_of(data, model, batch_size)
    updater.update()
    before = model.out.W.array.copy()
    with pytest.raises(RuntimeError, match=r"self\.reset_state\(\) first .*time_major"):
        updater.update()
    xp.testing.assert_array_equal(model.out.W.array, before)
    held_out = iterators.SerialIterator(data, batch_size, repeat=False)
    with pytest.raises(RuntimeError, match=r"reset_state"):
        Evaluator(held_out, model, time_major)()
    model.predict(time_major(data[:batch_size])[0])  # as it goes on by itself
    model.resets = True
    updater.update()


def test_rows_that_go_on_may_carry_their_state():
    data = examples([5] * 6)
    updater = updater_of(data, Forecaster(resets=False), 3, shuffle=False)
    updater.get_iterator().goes_on = True
    text = xp.arange(60, dtype=np.int32) % 4
    windows = iterators.WindowIterator(text, 3, 4)
    steps = iterators.ParallelSequentialIterator(text, 3)
    for each in (
        updater,
        StandardUpdater(steps, SGD(0.1).setup(Language())),
        BPTTUpdater(windows, SGD(0.1).setup(Language())),
    ):
        for _ in range(3):
            each.update()


class Language(Chain):
    takes_windows = True

    def __init__(self):
        super().__init__()
        with self.init_scope():
            self.embed, self.rnn, self.out = L.EmbedID(4, 2), L.GRU(2, 3), L.Linear(4)

    def forward(self, x, t):
        return F.softmax_cross_entropy(self.out(self.rnn(self.embed(x))), t)


def test_a_model_may_turn_the_axes_or_walk_the_steps_itself():
    class Turning(Forecaster):
        def forward(self, x, t):
            return super().forward(x.swapaxes(0, 1), t.swapaxes(0, 1))

    class Walking(Forecaster):
        def forward(self, x, t):
            self.reset_state()
            steps = range(x.shape[1])
            ys = F.stack([self.out(self.rnn(x[:, i])) for i in steps], axis=1)
            return F.mean_squared_error(ys, t)

    for model in (Turning(), Walking()):
        for batch_size in (1, 3, 5):
            updater = updater_of(examples([5] * 6), model, batch_size, concat_examples)
            updater.update()
            updater.update()


def test_only_sequences_are_turned():
    batch = [(xp.zeros((4, 2)), xp.zeros(4), xp.zeros(3), 1.0)] * 5
    shapes = [array.shape for array in time_major(batch)]
    assert shapes == [(4, 5, 2), (4, 5), (5, 3), (5,)]
    shapes = [array.shape for array in time_major(batch, sequences=(0,))]
    assert shapes == [(4, 5, 2), (5, 4), (5, 3), (5,)]
    assert time_major([[1, 2, 3]] * 2).shape == (3, 2)
    x, lengths = time_major([[1, 2, 3], [4]], padding=-1)
    assert x.tolist() == [[1, 4], [2, -1], [3, -1]]
    assert (lengths.dtype, lengths.tolist()) == (np.int32, [3, 1])
    x, t, lengths = time_major([([1, 2], [1, 2]), ([3], [3])], padding=(0, -1))
    assert (x.tolist(), t.tolist()) == ([[1, 3], [2, 0]], [[1, 3], [2, -1]])


@one_device("no arrays")
@pytest.mark.parametrize(
    ("batch", "options", "error", "text"),
    [
        ([], {}, ValueError, "empty"),
        ([(1, 2)], {}, ShapeError, "is a number"),
        ([3, 4], {}, ShapeError, "is a number"),
        ([[1, 2], [3]], {}, ShapeError, "1 to 2 steps.*padding=0"),
        (
            [([1, 2], [1, 2]), ([3], [3])],
            {},
            ShapeError,
            r"1 to 2 steps.*padding=\(0, -1\)",
        ),
        ([([1], 2), ([1],)], {}, ShapeError, "different numbers of parts"),
        ([([1, 2], [3])], {"sequences": (0, 1)}, ShapeError, "part 1 has 1 steps"),
        ([([1, 2], [3])], {"sequences": (2,)}, ValueError, r"\[2\].*\[0, 1\]"),
        ([([1, 2], [3])], {"sequences": ()}, ValueError, "name at least one"),
    ],
)
def test_what_is_not_a_sequence_is_named(batch, options, error, text):
    with pytest.raises(error, match=text):
        time_major(batch, **options)


def test_lengths_come_with_padded_batches_to_the_model():
    data, model = examples([2, 5, 3, 6]), Forecaster()
    converter = functools.partial(time_major, padding=0)
    updater = updater_of(data, model, 4, converter)
    updater.update()
    assert updater.label_count == 16


@one_device("no arrays")
def test_truncated_backpropagation_refuses_rows_that_do_not_go_on():
    iterator = iterators.SerialIterator([(1, 2)] * 8, 2)
    optimizer = SGD().setup(Language())
    with pytest.raises(ValueError, match=r"goes_on = True"):
        BPTTUpdater(iterator, optimizer, 3)
    iterator.goes_on = True
    BPTTUpdater(iterator, optimizer, 3)
