import datetime
import io
import json
import math

import numpy as np
import pytest

from dyrnn import Variable, extensions
from dyrnn.serializers import load_npz, save_npz
from dyrnn.training import Trainer
from dyrnn.training.triggers import ManualScheduleTrigger
from tests.arrays import every_device, one_device, xp
from tests.training.toys import FakeUpdater, regression_trainer

pytestmark = every_device

VALUES = {1: 1.0, 2: 3.0, 3: math.nan, 4: math.inf, 5: 5.0, 6: 6.0, 7: 7.0}


def make(out, stop=7, trigger=(2, "iteration"), **options):
    updater = FakeUpdater(3, lambda i: {"loss": VALUES[i], "text": xp.ones(2)})
    trainer = Trainer(updater, (stop, "iteration"), out)
    trainer.extend(extensions.LogReport(trigger=trigger, **options))
    return trainer


def rows(out):
    """The rows of the file, less what depends on the clock."""
    found = extensions.read_log(out / "log.jsonl")
    for row in found:
        assert row.pop("elapsed_time") >= 0
    return found


def test_rows_are_means_and_the_last_interval_is_written_at_the_end(tmp_path):
    make(tmp_path).run()
    found = rows(tmp_path)
    assert [row["iteration"] for row in found] == [2, 4, 6, 7]
    assert [row["epoch"] for row in found] == [0, 1, 2, 2]
    assert [row["loss"] for row in found[::2]] == [2.0, 5.5]
    assert found[3]["loss"] == 7.0


def test_an_interval_without_values_makes_no_last_row(tmp_path):
    make(tmp_path, stop=6).run()
    assert [row["iteration"] for row in rows(tmp_path)] == [2, 4, 6]


def test_file_is_strict_json_and_names_non_finite_values(tmp_path):
    make(tmp_path, trigger=(1, "iteration")).run()

    def refuse(text):
        raise ValueError(text)

    lines = (tmp_path / "log.jsonl").read_text().splitlines()
    parsed = [json.loads(line, parse_constant=refuse) for line in lines]
    assert parsed[2]["loss"] is None
    assert parsed[2]["nonfinite"] == {"loss": "nan"}
    assert parsed[3]["nonfinite"] == {"loss": "inf"}
    assert "nonfinite" not in parsed[4]
    found = rows(tmp_path)
    assert math.isnan(found[2]["loss"])
    assert found[3]["loss"] == math.inf


def test_rows_are_in_the_file_as_soon_as_they_are_made(tmp_path):
    seen = []
    trainer = make(tmp_path, trigger=(1, "iteration"))
    trainer.extend(lambda t: seen.append(len(rows(tmp_path))), "reader")
    trainer.run()
    assert seen == [1, 2, 3, 4, 5, 6, 7]


def test_a_file_that_is_removed_is_written_again(tmp_path):
    trainer = make(tmp_path)
    remove = lambda _: (tmp_path / "log.jsonl").unlink()
    trainer.extend(remove, name="remove", trigger=(3, "iteration"))
    trainer.run()
    assert [row["iteration"] for row in rows(tmp_path)] == [2, 4, 6, 7]


def test_error_keeps_the_partial_interval(tmp_path):
    trainer = make(tmp_path)

    def fail(trainer):
        if trainer.updater.iteration == 5:
            raise RuntimeError("stop here")

    trainer.extend(fail)
    with pytest.raises(RuntimeError, match="stop here"):
        trainer.run()
    assert [row["iteration"] for row in rows(tmp_path)] == [2, 4, 5]


def test_chosen_keys_and_postprocessing(tmp_path):
    def double(row):
        row["double"] = 2 * row["loss"]

    make(tmp_path, keys=["loss"], postprocess=double, stop=2).run()
    assert rows(tmp_path) == [{"loss": 2.0, "epoch": 0, "iteration": 2, "double": 4.0}]


def test_without_a_file_rows_are_in_memory(tmp_path):
    trainer = make(tmp_path, filename=None)
    trainer.run()
    assert len(trainer.get_extension("LogReport").log) == 4
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("stop", range(1, 7))
def test_no_row_is_missing_or_double_after_a_resume(tmp_path, stop):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    make(whole).run()
    trainer = make(cut, stop=stop + 1)
    trainer.extend(
        lambda t: save_npz(tmp_path / "s.npz", t),
        "save",
        ManualScheduleTrigger(stop, "iteration"),
        -100,
    )
    trainer.run()
    with open(cut / "log.jsonl", "a") as file:
        file.write('{"loss": 1.0, "iter')
    resumed = make(cut)
    load_npz(tmp_path / "s.npz", resumed)
    resumed.run()
    expected = [str(row) for row in rows(whole)]  # NaN is not equal to itself
    assert [str(row) for row in rows(cut)] == expected
    resumed_elsewhere = make(tmp_path / "other")
    load_npz(tmp_path / "s.npz", resumed_elsewhere)
    resumed_elsewhere.run()
    assert [str(row) for row in rows(tmp_path / "other")] == expected


def test_log_of_another_run_is_kept_aside(tmp_path):
    make(tmp_path, stop=4).run()
    old = (tmp_path / "log.jsonl").read_text()
    make(tmp_path, stop=2).run()
    assert len(rows(tmp_path)) == 1
    assert (tmp_path / "log.jsonl.bak").read_text() == old


def test_every_log_of_another_run_is_kept(tmp_path):
    logs = []
    for stop in (4, 2, 6):
        make(tmp_path, stop=stop).run()
        logs.append((tmp_path / "log.jsonl").read_text())
    names = ["log.jsonl.bak", "log.jsonl.bak-2", "log.jsonl"]
    assert [(tmp_path / name).read_text() for name in names] == logs


def test_a_file_that_another_extension_writes_is_refused(tmp_path):
    make(tmp_path, stop=2).run()
    old = (tmp_path / "log.jsonl").read_text()
    trainer = make(tmp_path)
    trainer.extend(extensions.LogReport(filename=None))
    trainer.extend(extensions.LogReport())
    message = r"LogReport and LogReport_2 .* the same file, 'log\.jsonl': give each"
    with pytest.raises(ValueError, match=message):
        trainer.run()
    assert trainer.updater.iteration == 0
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "log.jsonl": old
    }


def test_two_logs_with_files_of_their_own(tmp_path):
    trainer = make(tmp_path)
    trainer.extend(extensions.LogReport(filename="epochs.jsonl"))
    trainer.run()
    assert len(rows(tmp_path)) == 4
    assert len(extensions.read_log(tmp_path / "epochs.jsonl")) == 3


def test_keys_that_were_never_observed_are_named_at_the_end(tmp_path):
    trainer = make(tmp_path, keys=["los", "loss"])
    message = "LogReport: never observed: los; observed were: .*, loss, text. Correct"
    with pytest.warns(UserWarning, match=message):
        trainer.run()


def test_columns_that_were_never_observed_are_named_at_the_end(tmp_path):
    trainer = make(tmp_path, stop=2)
    trainer.extend(extensions.PrintReport(["epoch", "los"]))
    message = "PrintReport: never observed: los; observed were: elapsed_time, epoch, it"
    with pytest.warns(UserWarning, match=message):
        trainer.run()


def test_names_observed_before_a_resume_were_observed(tmp_path):
    def build(stop):
        updater = FakeUpdater(
            3, lambda i: {"loss": 1.0, **({"x": 2.0} if i < 3 else {})}
        )
        trainer = Trainer(updater, (stop, "iteration"), tmp_path)
        trainer.extend(extensions.LogReport(["x", "loss"], (2, "iteration")))
        trainer.extend(extensions.PrintReport(["x", "loss"]))
        return trainer

    trainer = build(3)
    trainer.run()
    save_npz(tmp_path / "s.npz", trainer)
    for stop in (3, 6):
        resumed = build(stop)
        load_npz(tmp_path / "s.npz", resumed)
        resumed.run()


def test_nothing_is_called_misspelt_when_an_error_ends_training(tmp_path):
    trainer = make(tmp_path, keys=["loss", "validation/loss"])
    trainer.extend(extensions.PrintReport(["loss", "validation/loss"]))
    trainer.extend(lambda trainer: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        trainer.run()


def test_nothing_is_called_misspelt_before_an_interval_is_over(tmp_path):
    trainer = make(tmp_path, stop=1, keys=["loss", "validation/loss"])
    trainer.extend(extensions.PrintReport(["loss", "validation/loss"]))
    trainer.run()
    assert len(rows(tmp_path)) == 1


@one_device("no arrays")
def test_a_single_name_is_no_list_of_names():
    message = r"entries is 'epoch': give a list of names, such as \['epoch'\]"
    with pytest.raises(TypeError, match=message):
        extensions.PrintReport("epoch")
    with pytest.raises(TypeError, match="LogReport: keys is 'loss': give a list"):
        extensions.LogReport("loss")


@one_device("no arrays")
def test_torn_last_line_is_left_out_and_other_damage_named(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text('{"a": 1}\n{"a": 2}\n{"a')
    assert extensions.read_log(path) == [{"a": 1}, {"a": 2}]
    for damaged in (
        b'{"a"',
        b"",
        b"\0\0",
        b"\xff",
        b"5",
        b'{"nonfinite": 3}',
        b"[" * 10**5,
    ):
        path.write_bytes(b'{"a": 1}\n' + damaged + b'\n{"a": 3}\n')
        message = r"log\.jsonl, line 2: not a row of a log .*\. Remove the line, or"
        with pytest.raises(ValueError, match=message):
            extensions.read_log(path)


@one_device("no arrays")
def test_rows_without_an_iteration_are_none_to_compare(tmp_path):
    (tmp_path / "log.jsonl").write_text('{"iteration": 1}\n{"a": 2}\n')
    assert extensions.LogReport().rows_in(tmp_path) == [{"iteration": 1}]


@one_device("no arrays")
def test_perplexity_of_both_losses():
    row = {"main/loss": math.log(100), "validation/main/loss": 1000.0}
    extensions.perplexity(row)
    assert row["perplexity"] == pytest.approx(100)
    assert row["val_perplexity"] == math.inf
    row = {"main/loss": math.nan}
    extensions.perplexity(row)
    assert math.isnan(row["perplexity"])
    assert "val_perplexity" not in row


def test_table_is_printed_row_by_row(tmp_path):
    out = io.StringIO()
    trainer = make(tmp_path)
    trainer.extend(
        extensions.PrintReport(["epoch", "iteration", "loss", "no"], out=out)
    )
    with pytest.warns(UserWarning, match="never observed: no;"):
        trainer.run()
    lines = out.getvalue().splitlines()
    assert lines[0].split() == ["epoch", "iteration", "loss", "no"]
    assert [line.split() for line in lines[1:]] == [
        ["0", "2", "2"],
        ["1", "4", "nan"],
        ["2", "6", "5.5"],
        ["2", "7", "7"],
    ]


def test_table_has_all_columns_by_default_and_goes_to_the_standard_output(
    tmp_path, capsys
):
    trainer = make(tmp_path, stop=2)
    trainer.extend(
        extensions.PrintReport(log_report=trainer.get_extension("LogReport"))
    )
    trainer.run()
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].split() == ["loss", "epoch", "iteration", "elapsed_time"]
    assert len(printed) == 2


def test_rows_are_not_printed_again_after_a_resume(tmp_path):
    trainer = make(tmp_path, stop=4)
    trainer.run()
    save_npz(tmp_path / "s.npz", trainer)
    resumed, out = make(tmp_path), io.StringIO()
    load_npz(tmp_path / "s.npz", resumed)
    resumed.extend(extensions.PrintReport(["iteration"], out=out))
    resumed.run()
    assert out.getvalue().split() == ["iteration", "6", "7"]


@one_device("chooses its device")
def test_logging_does_not_wait_for_the_device(tmp_path, synchronisations):
    trainer = regression_trainer(tmp_path, (9, "iteration"))
    trainer.updater.device = None
    trainer.extend(extensions.LogReport(trigger=(9, "iteration")))
    with synchronisations() as count:
        trainer.run()
    assert count() == 0


def test_long_logs_are_saved_and_loaded(tmp_path):
    trainer = make(tmp_path)
    log = trainer.get_extension("LogReport")
    row = {f"validation/main/value{k}": 1.0 for k in range(12)}
    log.log = [{**row, "iteration": k, "loss": math.nan} for k in range(40_000)]
    save_npz(tmp_path / "s.npz", trainer)
    loaded = make(tmp_path)
    load_npz(tmp_path / "s.npz", loaded)
    rows = loaded.get_extension("LogReport").log
    assert len(rows) == 40_000
    assert rows[-1]["iteration"] == 39_999 and math.isnan(rows[-1]["loss"])


def test_any_value_of_a_postprocess_is_written(tmp_path):
    def postprocess(row):
        row["half"] = np.float16(0.5)
        row["nan"] = np.float32("nan")
        row["count"] = np.int64(3)
        row["array"] = xp.array([1.0, np.inf])
        row["variable"] = Variable(xp.array(2.0))
        row["set"] = {1}
        row["date"] = datetime.date(2000, 1, 2)
        row["nested"] = {1: [np.bool_(True)]}

    trainer = Trainer(FakeUpdater(1), (1, "iteration"), tmp_path)
    log = extensions.LogReport(trigger=(1, "iteration"), postprocess=postprocess)
    trainer.extend(log)
    trainer.run()
    (row,) = extensions.read_log(tmp_path / "log.jsonl")
    assert row["half"] == 0.5 and math.isnan(row["nan"]) and row["count"] == 3
    assert row["array"] == [1.0, "inf"]
    assert (row["variable"], row["set"], row["date"]) == (2.0, [1], "2000-01-02")
    assert row["nested"] == {"1": [True]}
    assert str(row) == str(log.log[0])


def test_columns_that_the_output_cannot_encode(tmp_path):
    out = io.TextIOWrapper(io.BytesIO(), "ascii")
    trainer = Trainer(FakeUpdater(1), (1, "iteration"), tmp_path)
    log = extensions.LogReport(
        trigger=(1, "iteration"), postprocess=lambda row: row.update(sample="grün")
    )
    trainer.extend(log)
    trainer.extend(extensions.PrintReport(["sample"], out=out))
    trainer.run()
    assert b"gr\\xfcn" in out.buffer.getvalue()
