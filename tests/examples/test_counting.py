"""The counting example gives the published tables, and every optimizer arrives."""

import json
import re

import pytest

from tests.examples.running import run

RMSPROP = [5.7880, 0.3313, 0.0181, 0.0072] + 16 * [0.0068]
PUBLISHED = """
    529.6915 504.5684 475.3019 435.9507 362.6525 0.2677 0.1585 0.1484 0.1389 0.1300
    0.1216 0.1138 0.1064 0.0995 0.0930 0.0870 0.0813 0.0760 0.0710 0.0663
"""


def costs(text):
    lines = re.findall(r"^epoch\[ *(\d+)\] : cost =([ \d.]{8})$", text, re.MULTILINE)
    return {int(epoch): float(cost) for epoch, cost in lines}


def weights(text, when):
    found = re.search(rf"{when}: wx = +([\d.]+), wRec = +([\d.]+)$", text, re.M)
    return [float(value) for value in found.groups()]


def test_sgd_and_rmsprop_give_the_published_tables(tmp_path):
    text = run("counting/train_counting.py", cwd=tmp_path)
    assert "Initial weights: wx =   0.0900, wRec =   0.0113\n" in text
    assert "epoch[  100] : cost =529.6915\n" in text
    expected = [float(cost) for cost in PUBLISHED.split()]
    assert costs(text) == {
        100 * (i + 1): pytest.approx(cost, abs=2e-4) for i, cost in enumerate(expected)
    }
    assert weights(text, "Final weights ") == [1.0597, 0.9863]
    folder = tmp_path / "result" / "counting"
    for name in ("cost.png", "surface.png"):
        picture = (folder / name).read_bytes()
        assert picture.startswith(b"\x89PNG") and len(picture) < 60_000
    # It trains with the other optimizer, too, for the pictures. How fast the cost falls
    # in row 2 hangs on the rounding of float32: the steps divide by a small difference.
    rows = (folder / "rmsprop" / "log.jsonl").read_text().splitlines()
    table = [json.loads(row)["main/cost"] for row in rows[99:2000:100]]
    assert table == pytest.approx(RMSPROP, abs=2e-4)
    last = json.loads(rows[-2])  # before the update; they alternate, as does the end
    assert round(last["main/wx"], 4) == 0.9995
    assert round(last["main/wRec"], 4) == 0.9993


def test_any_optimizer_may_be_the_one_that_is_printed(tmp_path):
    for name, expected in (
        ("rmsprop-plain", {100: 533.2473, 200: 510.9251}),
        ("rprop", {100: 0.0043, 200: 0.0}),
    ):
        args = ("--test", "--optimizer", name, "--out", tmp_path / name)
        text = run("counting/train_counting.py", *args, cwd=tmp_path)
        assert costs(text) == pytest.approx(expected, abs=2e-4)


def test_a_resumed_run_prints_the_rest_of_the_table(tmp_path):
    first = run("counting/train_counting.py", "--epoch", "500", cwd=tmp_path)
    rest = run(
        "counting/train_counting.py", "--epoch", "700", "-r", "auto", cwd=tmp_path
    )
    assert max(costs(first)) == 500 and min(costs(rest)) == 600
    assert costs(rest)[600] == pytest.approx(0.2677, abs=2e-4)
