"""The example of sequence to sequence learns, and a batch answers as each alone."""

import json

import numpy as np
import pytest

from dyrnn import random
from tests.examples.running import load, run

SCRIPT = "seq2seq/train_dates.py"


def test_it_learns_and_a_saved_model_translates(tmp_path):
    args = ("--iteration", "20", "--unit", "8", "--batchsize", "32")
    text = run(SCRIPT, *args, cwd=tmp_path)
    assert " of 100 new dates are right; model saved: " in text
    log = (tmp_path / "result" / "seq2seq" / "log.jsonl").read_text().splitlines()
    losses = [json.loads(line)["main/loss"] for line in log]
    assert losses[-1] < 0.95 * losses[0]
    said = run(SCRIPT, "--say", "4 May 1993", cwd=tmp_path)
    assert said.endswith("\n") and set(said) <= set("0123456789-\n")
    dates = load(SCRIPT)
    model = dates.load(tmp_path / "result" / "seq2seq" / "model.npz")
    assert dates.translate(model, ["4 May 1993"]) == [said.rstrip("\n")]
    with pytest.raises(ValueError, match="has '€', which no date is written with"):
        dates.translate(model, ["4 May €"])


def test_dates_are_those_of_the_calendar_and_a_batch_answers_as_each_alone():
    dates = load(SCRIPT)
    texts, answers = zip(*dates.Dates(30, 5)[:], strict=True)
    assert len(set(texts)) == 30 and all("1900" <= iso[:4] <= "2099" for iso in answers)
    assert ("-".join(reversed(texts[0].split("/"))) == answers[0]) == ("/" in texts[0])
    random.seed(0)
    model = dates.Translator(len(dates.CHARACTERS), 8)
    for param in model.params():
        param.array[...] = random.stream("test").generator.normal(size=param.shape)
    model.out.b.array[...] = -99.0 * (
        np.arange(len(dates.IDS)) == dates.IDS[dates.STOP]
    )
    together = dates.translate(model, texts[:6])
    assert together == [dates.translate(model, [text])[0] for text in texts[:6]]
    assert len(set(together)) > 1
