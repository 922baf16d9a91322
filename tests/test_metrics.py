"""Metrics that add up over batches, beside the libraries that are known for them.

Values are of scikit-learn 1.9.1, seqeval 1.2.2 and sacreBLEU 2.6.0.
"""

import math
from types import SimpleNamespace as Namespace

import numpy as np
import pytest

import dyrnn.functions as F
from dyrnn.distributed.trainers import World
from dyrnn.errors import ShapeError
from dyrnn.extensions import Evaluator
from dyrnn.iterators import SerialIterator
from dyrnn.link import Chain
from dyrnn.metrics import F1, BitsPerCharacter, Bleu, ChunkF1, Metric
from tests.arrays import every_device, xp

pytestmark = every_device

FOUND = [0, 2, 1, 0, 3, 2, 1, 1, 0, 2]
TRUE = [0, 1, 1, 0, 2, 2, 1, 0, 0, 2]
BIO = ["O", "B-A", "I-A", "B-B", "I-B"]
BIOES = ["O", "B-A", "I-A", "E-A", "S-A", "B-B", "I-B", "E-B", "S-B"]
TEXTS = [t.split() for t in ("the cat sat on the mat today", "it rained all day", "no")]
MEANT = [
    [
        t.split()
        for t in ("the cat sat on a mat", "it rained all the long day", "yes it is")
    ],
    [t.split() for t in ("a cat was on the mat today", "all day it rained", "no")],
]


@pytest.mark.parametrize("size", [1, 3, 10])
@pytest.mark.parametrize("as_scores", [False, True])
def test_f1_is_that_of_scikit_learn(size, as_scores):
    macro, micro = F1(list("abcd")), F1(4, "micro")
    for i in range(0, 10, size):
        found, t = (xp.array(x[i : i + size] + [0]) for x in (FOUND, TRUE))
        t[-1] = -1  # ignored
        found = xp.eye(4)[found] if as_scores else found
        macro.add(found, t)
        micro.add(found, t)
    expected = {"": 0.5476190476190476, "a": 6 / 7, "b": 2 / 3, "c": 2 / 3, "d": 0}
    assert macro.compute() == pytest.approx(expected, rel=1e-14)
    assert micro.compute() == {"": pytest.approx(0.7)}


CHUNKS = {
    "bio": (
        BIO,
        [[1, 2, 0, 3, 4, 4], [2, 2, 4, 0, 1], [3, 3]],
        [[1, 2, 0, 3, 4, 0], [2, 2, 4, 0, 2], [3, 4]],
        (8 / 13, 4 / 7, 2 / 3, 1.0, 2 / 7),
    ),
    "bioes": (
        BIOES,
        [[1, 2, 3, 0, 4, 5, 7], [2, 3, 8], [1, 3]],
        [[1, 2, 3, 0, 4, 5, 6], [2, 3, 8], [1, 4]],
        (10 / 13, 5 / 6, 5 / 7, 2 / 3, 1.0),
    ),
}


def in_columns(sequences, padding):
    columns = np.full((max(map(len, sequences)), len(sequences)), padding)
    for b, sequence in enumerate(sequences):
        columns[: len(sequence), b] = sequence
    return xp.array(columns)


@pytest.mark.parametrize("kind", CHUNKS)
@pytest.mark.parametrize("given", ["sequences", "columns", "steps", "padded"])
def test_chunk_f1_is_that_of_seqeval(kind, given):
    tags, found, true, expected = CHUNKS[kind]
    metric = ChunkF1(tags)
    for part in (slice(0, 1), slice(1, 3)):
        a, b = found[part], true[part]
        lengths = [len(each) for each in b]
        if given == "sequences":
            metric.add(a, b)
        elif given == "columns":
            metric.add(in_columns(a, 1), in_columns(b, 2), lengths)
        elif given == "steps":  # as L.CRF1d.argmax returns them
            metric.add(list(in_columns(a, 1)), in_columns(b, 2), lengths)
        else:
            metric.add(in_columns(a, 1), in_columns(b, -1))
    assert list(metric.compute().values()) == pytest.approx(expected, rel=1e-14)


def test_bleu_is_that_of_sacrebleu():
    one, several, rough, plain = Bleu(), Bleu(), Bleu(), Bleu(smooth=False)
    for text, *meant in zip(TEXTS, *MEANT, strict=True):
        one.add([text], [meant[0]])
        several.add([text], *([each] for each in meant))
    assert one.compute()[""] == pytest.approx(33.85609554882431, rel=1e-14)
    assert several.compute()[""] == pytest.approx(71.53784423080972, rel=1e-14)
    for metric in rough, plain:
        metric.add(TEXTS[1:], MEANT[0][1:])
    assert rough.compute()[""] == pytest.approx(27.1518295500715, rel=1e-14)
    assert plain.compute() == {"": 0.0}


def test_bleu_takes_ids_in_arrays():
    metric = Bleu()
    metric.add([np.int32([1, 2, 3, 4, 5])], [[1, 2, 3, 4, 5]])
    assert metric.compute() == {"": pytest.approx(100)}


def test_bits_do_not_depend_on_tokens():
    bits = BitsPerCharacter()
    bits.add(F.mean(np.float32([math.log(8)] * 2)), labels=2, characters=5)
    bits.add(np.nan, labels=0, characters=0)  # the mean of nothing
    bits.add(math.log(2), labels=4, characters=15)
    assert bits.compute() == {"": pytest.approx(10 / 20)}


class Rule(Chain):
    def forward(self, x, t):
        return F.mean(x * 0)


@pytest.mark.parametrize("size", [1, 4, 10])
def test_an_evaluation_begins_them_and_reports_them(size):
    data = [(np.float32([f]), t) for f, t in zip(FOUND, TRUE, strict=True)]
    metric, model = F1(list("abcd")), Rule()

    def judge(x, t):
        metric.add(x[:, 0].astype(int), t)
        return model(x, t)

    iterator = SerialIterator(data, size, repeat=False, shuffle=False)
    evaluator = Evaluator(iterator, model, eval_func=judge, metrics={"f1": metric})
    for _ in range(2):  # each begins anew
        found = evaluator()
        assert found["validation/main/f1"] == pytest.approx(0.5476190476190476)
        assert found["validation/main/f1/a"] == pytest.approx(6 / 7)
        assert found["validation/main/loss"] == 0


def test_a_metric_that_nothing_is_added_to_is_told_of():
    data = [(np.float32([1.0]), 0)] * 3
    iterator = SerialIterator(data, 2, repeat=False, shuffle=False)
    with pytest.warns(UserWarning, match="the metric 'f1' counted nothing"):
        Evaluator(iterator, Rule(), metrics={"f1": F1(4)})()


@pytest.mark.parametrize("metrics", [[F1(2)], F1(2), {"f1": F.f1_score}, {"f1": F1}])
def test_what_is_no_metric_is_refused(metrics):
    iterator = SerialIterator([1], 1, repeat=False)
    with pytest.raises(TypeError, match="a dictionary of dyrnn.metrics"):
        Evaluator(iterator, Rule(), metrics=metrics)


def test_processes_add_up():
    parts = [F1(4) for _ in range(2)]
    parts[0].add(np.array(FOUND[:3]), np.array(TRUE[:3]))
    parts[1].add(np.array(FOUND[3:]), np.array(TRUE[3:]))
    all_sums = [[part.sums.copy()] for part in parts]
    world = Namespace(
        communicator=Namespace(allgather_object=lambda mine, where: all_sums)
    )
    for part in parts:
        World.add_up(world, [part.sums])
        assert part.compute()[""] == pytest.approx(0.5476190476190476)


BAD = [
    (lambda: F1(0), "at least one"),
    (lambda: F1("ab"), "list of names"),
    (lambda: F1(2, "binary"), "macro"),
    (lambda: F1(2).add(np.array([0, 2]), np.array([0, 1])), "from 0 to 1"),
    (lambda: F1(2).add(np.array([0, 1]), np.array([0, -2])), "from 0 to 1"),
    (lambda: F1(2).add(np.array([0.0, 1.0]), np.array([0, 1])), r"\(2, 2\)"),
    (lambda: F1(2).add(np.array([[0], [1]]), np.array([0, 1])), "shape"),
    (lambda: ChunkF1(["O", "PER"]), "B-PER"),
    (lambda: ChunkF1(["O"]), "begins with"),
    (lambda: ChunkF1(BIO).add([[1]], [[1], [2]]), "1 sequences"),
    (lambda: ChunkF1(BIO).add([[1, 2]], [[1]]), "2 tags"),
    (lambda: ChunkF1(BIO).add([[1]], [[1, 2]]), "1 tags"),
    (lambda: ChunkF1(BIO).add([1, 2], [1, 2]), "list of sequences"),
    (lambda: ChunkF1(BIO).add([[9]], [[1]]), "from 0 to 4"),
    (
        lambda: ChunkF1(BIO).add(np.ones((3, 2), int), np.ones((3, 2), int), [1]),
        "lengths",
    ),
    (lambda: Bleu().add(["a b"], ["a b"]), "split"),
    (lambda: Bleu().add([["a"]]), "references"),
    (lambda: Bleu().add([["a"]], []), "1 and 0"),
    (lambda: BitsPerCharacter().add(np.ones(2), 2, 2), "one mean"),
    (lambda: Metric(1).add(), "must define"),
    (lambda: Metric(1).compute(), "must define"),
]


@pytest.mark.parametrize(("call", "told"), BAD)
def test_what_is_no_answer_is_refused(call, told):
    errors = ShapeError, ValueError, TypeError, NotImplementedError
    with pytest.raises(errors, match=told):
        call()


@pytest.mark.parametrize(
    "metric", [F1(["a"]), ChunkF1(BIO), Bleu(), BitsPerCharacter()]
)
def test_nothing_yet(metric):
    assert set(metric.compute()) >= {""}
    assert type(metric).__name__ in repr(metric)
