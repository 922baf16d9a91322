"""Drawing tokens from logits and continuing sequences."""

import numpy as np
import pytest

import dyrnn
from dyrnn import sampling
from dyrnn.errors import NonFiniteError

LOGITS = np.log(np.array([[0.5, 0.25, 0.15, 0.1]]))


def test_probabilities_are_the_softmax():
    p = sampling.probabilities(LOGITS)
    np.testing.assert_allclose(p, [[0.5, 0.25, 0.15, 0.1]], rtol=1e-12)


def test_temperature_divides_the_logits():
    p = sampling.probabilities(LOGITS, temperature=0.5)
    square = np.array([0.25, 0.0625, 0.0225, 0.01])
    np.testing.assert_allclose(p[0], square / square.sum(), rtol=1e-12)


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
        return 50.0 * np.eye(10)[(ids + 1) % 10]

    batch = [ids.tolist() for ids in sampling.generate(count, [[3, 7], [4, 8]], 3)]
    assert batch == [[5, 9], [6, 0], [7, 1]]
    assert list(sampling.generate(count, [8], 3, temperature=0)) == [9, 0, 1]


def test_generate_needs_a_token():
    with pytest.raises(ValueError, match="at least one token"):
        next(sampling.generate(lambda ids: ids, [], 3))
