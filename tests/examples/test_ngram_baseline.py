"""The n-gram baseline: probabilities sum to 1, are those by hand, and predict."""

import itertools

import pytest

from tests.examples.running import load, run

EXAMPLE = "char_rnn/ngram_baseline.py"


@pytest.fixture(scope="module")
def ngrams():
    return load(EXAMPLE).NGrams


@pytest.mark.parametrize("order", [1, 2, 4])
def test_probabilities_sum_to_one_after_any_context(ngrams, order):
    model = ngrams(order, 4)
    model.fit([(0, 1, 2, 1, 2, 3, 0), (0, 2, 2, 0)])
    for length in range(5):
        for context in itertools.product(range(4), repeat=length):
            total = sum(model.probability(context, token) for token in range(4))
            assert total == pytest.approx(1, rel=1e-12)


def test_probabilities_are_those_by_hand(ngrams):
    model = ngrams(2, 3)
    model.fit([(0, 1, 1, 2)])  # after the given 0: 1 twice, 2 once
    one, two = (2 + 2 / 3) / 5, (1 + 2 / 3) / 5
    assert model.probability((), 1) == pytest.approx(one)
    # 1 is followed by 1 once and by 2 once; nothing is seen behind 2.
    assert model.probability((1,), 2) == pytest.approx((1 + 2 * two) / 4)
    assert model.probability((0, 1), 2) == pytest.approx((1 + 2 * two) / 4)
    assert model.probability((2,), 2) == pytest.approx(two)


def test_longer_contexts_predict_a_text_that_repeats(tmp_path):
    (tmp_path / "cats.txt").write_text("the cat sat on the mat\n" * 400)
    output = run(EXAMPLE, "--text", "cats.txt", "--order", 4, cwd=tmp_path)
    rows = [line.split() for line in output.splitlines()[1:]]
    assert [int(row[0]) for row in rows] == [1, 2, 3, 4]
    perplexities = [float(row[2]) for row in rows]
    assert perplexities == sorted(perplexities, reverse=True)
    assert 1 < perplexities[-1] < 1.5 and perplexities[0] > 7
