"""Logs elsewhere: rows are handed on once, tables hold them all, pages say what is."""

import csv
import json
import math
import random
from typing import Any

import pytest

from dyrnn import extensions
from dyrnn.extensions.report import main as write_report
from dyrnn.extensions.report import render
from dyrnn.reporter import report
from dyrnn.training import Trainer
from tests.arrays import every_device, one_device
from tests.training.toys import FakeUpdater

pytestmark = every_device


class Rows(extensions.Tracker):
    def begin(self, trainer):
        self.calls = ["begin"]

    def write(self, row):
        self.calls.append(row["iteration"])

    def end(self):
        self.calls.append("end")


def run(out, stop, *trackers, fail_at=None):
    trainer = Trainer(FakeUpdater(1, None), (stop, "iteration"), out)

    def values(trainer):
        i = trainer.updater.iteration
        report({"loss": 1 / i} if i != 3 else {"loss": 1 / i, "<late>": 2.0})
        if i == fail_at:
            raise RuntimeError("stop")

    trainer.extend(values, priority=500)
    trainer.extend(extensions.LogReport(trigger=(1, "iteration")))
    for tracker in trackers:
        trainer.extend(tracker)
    trainer.extend(extensions.snapshot(autoload=True), trigger=(1, "iteration"))
    trainer.run()


def table(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def test_a_tracker_gets_each_row_once_also_after_a_resume(tmp_path):
    rows = Rows()
    run(tmp_path, 2, rows)
    assert rows.calls == ["begin", 1, 2, "end"]
    again = Rows()
    run(tmp_path, 4, again)
    assert again.calls == ["begin", 3, 4, "end"]


def test_a_tracker_is_closed_after_an_error(tmp_path):
    rows = Rows()
    with pytest.raises(RuntimeError, match="stop"):
        run(tmp_path, 4, rows, fail_at=2)
    assert rows.calls[0] == "begin" and rows.calls[-1] == "end"


def test_a_table_has_all_rows_and_all_columns_also_after_a_resume(tmp_path):
    run(tmp_path / "a", 4, extensions.CsvReport())
    whole = table(tmp_path / "a" / "log.csv")
    assert len(whole) == 5 and whole[0][0] == "loss" and "<late>" in whole[0]
    run(tmp_path / "b", 2, extensions.CsvReport())
    run(tmp_path / "b", 4, extensions.CsvReport())
    time = whole[0].index("elapsed_time")
    for ours, meant in zip(table(tmp_path / "b" / "log.csv"), whole, strict=True):
        assert ours[:time] + ours[time + 1 :] == meant[:time] + meant[time + 1 :]


class Writer:
    def __init__(self):
        self.scalars, self.is_open = [], True

    def add_scalar(self, name, value, step):
        self.scalars.append((name, value, step))

    def close(self):
        self.is_open = False


def test_tensorboard_gets_the_numbers_by_iteration(tmp_path):
    writer = Writer()
    run(tmp_path, 2, extensions.TensorBoardReport(writer=writer))
    losses = [each for each in writer.scalars if each[0] == "loss"]
    assert losses == [("loss", 1.0, 1), ("loss", 0.5, 2)] and not writer.is_open


def test_a_page_compares_runs_without_any_other_file(tmp_path, monkeypatch, capsys):
    for name in ("a", "<b>"):
        run(tmp_path / name, 3)
        config = {"arguments": {"lr": len(name), "same": "<i>"}}
        (tmp_path / name / "config.json").write_text(json.dumps(config))
        (tmp_path / name / "sample.txt").write_text("said & done <script>")
    folders = [str(tmp_path / "a"), str(tmp_path / "<b>")]
    monkeypatch.setattr("sys.argv", ["report", *folders])
    write_report()
    page = (tmp_path / "a" / "report.html").read_text(encoding="utf-8")
    assert str(tmp_path / "a" / "report.html") in capsys.readouterr().out
    assert page == render(folders)
    assert page.count("<polyline") == 4 and page.count("<figure>") == 2
    assert page.index("<td>lr</td>") < page.index("<td>same</td>")
    assert "said &amp; done &lt;script&gt;" in page
    for foreign in ("<b>", "<i>", "<late>", "<script", "http:", "https:", 'src="/'):
        assert foreign not in page


@one_device("no arrays")
def test_a_folder_without_a_log_is_refused(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"there is no log.jsonl in .*LogReport"
    ):
        render([tmp_path])


ODD: list[Any] = [0, -1.5, 1e308, -1e308, math.nan, math.inf, None]
ODD += ["x", "<b>", True, [1], {}, "", 10**400]


def test_a_page_is_made_of_any_log_or_the_file_is_named(tmp_path):
    rng = random.Random(0)
    names = ["iteration", "epoch", "elapsed_time", "main/loss", "<script>", ""]
    for _ in range(200):
        rows = [
            {name: rng.choice(ODD) for name in rng.sample(names, rng.randint(0, 6))}
            for _ in range(rng.randint(0, 4))
        ]
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (tmp_path / "log.jsonl").write_text(lines)
        page = render([tmp_path])
        assert "<script>" not in page and "nan," not in page and ",nan" not in page


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"arguments": 3}'])
def test_a_damaged_configuration_is_named(tmp_path, text):
    (tmp_path / "log.jsonl").write_text('{"iteration": 1, "loss": 2}\n')
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ValueError, match=r"config.json: no configuration"):
        render([tmp_path])
