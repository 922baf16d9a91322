"""Real corpora, where ``DYRNN_TEST_DATA`` names a directory that has them."""

import os
from pathlib import Path

import pytest

from dyrnn.datasets import load_corpus


@pytest.fixture
def data():
    if not os.environ.get("DYRNN_TEST_DATA"):
        pytest.skip("DYRNN_TEST_DATA names no directory")
    return Path(os.environ["DYRNN_TEST_DATA"])


def test_penn_treebank_has_its_known_sizes(data):
    train, valid, test, vocabulary = load_corpus(data / "ptb.zip")
    assert (len(train), len(valid), len(test)) == (929_589, 73_760, 82_430)
    assert len(vocabulary) == 10_000
    assert vocabulary.decode(train[:5]) == "aer banknote berlitz calloway centrust"
    # Ids go by falling count, so the first words are the most frequent ones.
    assert vocabulary.decode([0, 1, 4]) == "the <unk> of"


def test_tweets_are_split_and_unknown_words_replaced(data):
    train, valid, test, vocabulary = load_corpus(data / "trump_tweets.txt")
    total = len(train) + len(valid) + len(test)
    assert total > 350_000
    assert 0.85 < len(train) / total < 0.95
    assert len(vocabulary) == 10_000
    assert max(part.max() for part in (train, valid, test)) < 10_000
