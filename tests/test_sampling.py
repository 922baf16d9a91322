"""Drawing tokens from logits and continuing sequences."""

import itertools

import numpy as np
import pytest

import dyrnn
import dyrnn.functions as F
import dyrnn.links as L
from dyrnn import backend, sampling
from dyrnn.errors import NonFiniteError, ShapeError
from tests.arrays import every_device, xp

LOGITS = np.log(np.array([[0.5, 0.25, 0.15, 0.1]]))


def test_probabilities_are_the_softmax():
    p = sampling.probabilities(LOGITS)
    np.testing.assert_allclose(p, [[0.5, 0.25, 0.15, 0.1]], rtol=1e-12)


@every_device
def test_temperature_divides_the_logits():
    p = sampling.probabilities(LOGITS, temperature=0.5)
    square = xp.array([0.25, 0.0625, 0.0225, 0.01])
    xp.testing.assert_allclose(p[0], square / square.sum(), rtol=1e-12)


def test_temperature_0_takes_the_likeliest():
    p = sampling.probabilities(LOGITS, temperature=0)
    np.testing.assert_array_equal(p, [[1, 0, 0, 0]])


def test_top_k_keeps_the_likeliest_tokens():
    p = sampling.probabilities(LOGITS, top_k=2)
    np.testing.assert_allclose(p, [[2 / 3, 1 / 3, 0, 0]], rtol=1e-12)


def test_top_p_keeps_the_fewest_tokens_that_reach_it():
    p = sampling.probabilities(LOGITS, top_p=0.7)
    np.testing.assert_allclose(p, [[2 / 3, 1 / 3, 0, 0]], rtol=1e-12)
    assert sampling.probabilities(LOGITS, top_p=0.01)[0, 0] == 1.0


def test_draws_follow_the_probabilities_and_the_seed():
    dyrnn.random.seed(5)
    ids = sampling.draw(np.repeat(LOGITS, 20_000, axis=0))
    shares = np.bincount(ids, minlength=4) / len(ids)
    np.testing.assert_allclose(shares, [0.5, 0.25, 0.15, 0.1], atol=0.02)
    dyrnn.random.seed(5)
    np.testing.assert_array_equal(ids, sampling.draw(np.repeat(LOGITS, 20_000, axis=0)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": -1}, "temperature must be 0 or more, got -1"),
        ({"temperature": np.nan}, "temperature must be 0 or more"),
        ({"top_k": 0}, "top_k must be at least 1, got 0"),
        ({"top_p": 1.5}, "top_p must be above 0 and at most 1, got 1.5"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        sampling.probabilities(LOGITS, **options)


def test_nan_logits_are_refused():
    with pytest.raises(NonFiniteError, match="logits are NaN"):
        sampling.draw(np.array([[np.nan, 0.0]]))


def test_generate_feeds_tokens_back_side_by_side():
    def count(ids):
        return 50.0 * xp.eye(10)[(ids + 1) % 10]

    batch = [ids.tolist() for ids in sampling.generate(count, [[3, 7], [4, 8]], 3)]
    assert batch == [[5, 9], [6, 0], [7, 1]]
    assert list(sampling.generate(count, [8], 3, temperature=0)) == [9, 0, 1]


def test_generate_needs_a_token():
    with pytest.raises(ValueError, match="at least one token"):
        next(sampling.generate(lambda ids: ids, [], 3))


def counting(ids):
    return 50.0 * xp.eye(10)[(ids + 1) % 10]


def test_a_sequence_ends_with_its_stop_token():
    assert list(sampling.generate(counting, [3], 9, stop=[6, 8])) == [4, 5, 6]
    batch = sampling.generate(counting, [[3, 5]], 9, stop=7)
    assert [ids.tolist() for ids in batch] == [[4, 6], [5, 7], [6, 7], [7, 7]]


@every_device
def test_a_seed_of_its_own_is_that_of_the_streams_and_moves_no_other():
    def even(ids):
        return xp.zeros((len(ids), 50))

    def draws(**options):
        return list(sampling.generate(even, [1], 9, **options))

    dyrnn.random.seed(7)
    meant = draws()
    before = draws()
    dyrnn.random.seed(7)
    assert draws() == meant
    assert draws(seed=7) == meant != draws(seed=8)
    assert draws() == before


class Speller(dyrnn.Chain):
    """A language model with all the state there is: a stack, and attention."""

    def __init__(self, V=4, H=5):
        super().__init__()
        with self.init_scope():
            self.embed = L.EmbedID(V, H)
            self.rnn = L.LSTM(H, H)
            self.attend = L.Attention(H, H)
            self.out = L.Linear(2 * H, V)

    def read(self, x):
        self.reset_state()
        self.attend.remember(self.device.send(x))

    def forward(self, ids):
        h = self.rnn(self.embed(self.xp.asarray(ids)))
        return self.out(F.concat([h, self.attend(h)])) * 3.0


@pytest.fixture
def speller(rng, device):
    model = Speller()
    for param in model.params():
        param.array[...] = rng.normal(size=param.shape)
    model.to_device(device)
    return model


def memory(rng, B):
    return rng.normal(size=(3, B, 5)).astype(np.float32)


def test_prompts_of_different_lengths_go_on_as_each_alone(speller, rng):
    x = memory(rng, 3)
    prime = np.array([[0, 1, 2], [9, 3, 1], [9, 0, 9]])
    lengths = [1, 3, 2]

    def model(ids):  # the attention's memory of the rows that are read
        rows = order[: len(ids)]
        speller.attend.remember(speller.device.send(x[:, rows]))
        return speller(ids)

    order = np.argsort([-n for n in lengths])
    speller.reset_state()
    together = np.array(
        list(sampling.generate(model, prime, 5, temperature=0, lengths=lengths))
    )
    for b, n in enumerate(lengths):
        speller.read(x[:, b : b + 1])
        alone = sampling.generate(speller, prime[:n, b], 5, temperature=0)
        assert together[:, b].tolist() == list(alone)


def log_probability(model, prime, ids):
    """Sum the log-probabilities of ids after a prompt, from a fresh state."""
    total = 0.0
    given = [*prime, *ids]
    for i, token in enumerate(given[:-1]):
        logits = backend.to_cpu(model(xp.array([token])).array)[0].astype(np.float64)
        if i + 1 >= len(prime):
            total += logits[given[i + 1]] - xp.log(xp.exp(logits).sum())
    return total


def every_sequence(V, length, stop):
    for n in range(1, length + 1):
        for ids in itertools.product(range(V), repeat=n):
            if stop not in ids[:-1] and (n == length or ids[-1] == stop):
                yield list(ids)


@pytest.mark.parametrize("penalty", [0.0, 1.0])
def test_a_wide_beam_finds_the_best_of_all_sequences(speller, rng, penalty):
    x, stop = memory(rng, 2), 3
    prime = np.array([[0, 1], [2, 0]])
    speller.read(x)
    found = sampling.beam_search(speller, prime, 3, 100, stop, penalty)
    for b in range(2):
        scores = {}
        for ids in every_sequence(4, 3, stop):
            speller.read(x[:, b : b + 1])
            p = log_probability(speller, prime[:, b], ids)
            scores[tuple(ids)] = p / len(ids) ** penalty
        best = sorted(scores, key=lambda ids: -scores[ids])
        assert [tuple(each.ids) for each in found[b]] == best[:100]
        for each in found[b]:
            assert each.score == pytest.approx(scores[tuple(each.ids)], abs=1e-4)


@pytest.mark.parametrize("width", [1, 2, 3])
def test_a_narrow_beam_says_the_probability_of_what_it_found(speller, rng, width):
    x, prime, stop = memory(rng, 3), np.array([[0, 1, 2]]), 3
    speller.read(x)
    found = sampling.beam_search(speller, prime, 6, width, stop)
    for b, hypotheses in enumerate(found):
        assert 1 <= len(hypotheses) <= width
        for each in hypotheses:
            speller.read(x[:, b : b + 1])
            p = log_probability(speller, prime[:, b], each.ids)
            assert each.log_probability == pytest.approx(p, abs=1e-4)
        assert sorted(hypotheses, key=lambda each: -each.score) == hypotheses
        speller.read(x[:, b : b + 1])
        greedy = list(sampling.generate(speller, prime[:, b], 6, 0, stop=stop))
        speller.read(x[:, b : b + 1])
        p = log_probability(speller, prime[:, b], greedy)
        assert hypotheses[0].log_probability >= p - 1e-4


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: sampling.generate(counting, [1], 3, stop=-1), ValueError, "stop=-1"),
        (lambda: sampling.generate(counting, [[[1]]], 3), ShapeError, r"\(1, 1, 1\)"),
        (
            lambda: sampling.generate(counting, [[1, 2]], 3, lengths=[1]),
            ShapeError,
            r"lengths are \[1\]; they must be one for each of the 2 sequences",
        ),
        (
            lambda: sampling.generate(counting, [[1, 2]], 3, lengths=[1, 0]),
            ValueError,
            "at least one token",
        ),
        (
            lambda: sampling.beam_search(counting, [1], 3),
            TypeError,
            "what carries the state is not known, .* Give state=model",
        ),
        (
            lambda: sampling.beam_search(counting, [1], 3, width=0),
            ValueError,
            "width=0 and length=3 must be 1 or more",
        ),
        (
            lambda: sampling.beam_search(counting, [1], 3, length_penalty=-1),
            ValueError,
            "length_penalty=-1",
        ),
    ],
)
def test_calls_that_mean_nothing_are_refused_at_once(call, error, message):
    with pytest.raises(error, match=message):
        call()
