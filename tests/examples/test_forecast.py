"""The forecast example: files with gaps, better than naive, in another process, too."""

import csv
import json
from datetime import timedelta

import numpy as np
import pytest

from tests.examples.running import load, run

SCRIPT = "forecast/train_forecast.py"


@pytest.fixture(scope="module")
def forecast():
    return load(SCRIPT)


def test_it_learns_and_another_process_forecasts_the_day_that_follows(tmp_path):
    data = tmp_path / "load.csv"
    load(SCRIPT).make_csv(data, days=60)
    args = ("--data", data, "--epoch", "2", "--unit", "8", "--batchsize", "16")
    text = run(SCRIPT, *args, "--lr", "0.01", cwd=tmp_path)
    out = tmp_path / "result" / "forecast"
    found = json.loads((out / "errors.json").read_text())
    assert found["model"] < found["day"]
    assert "picture: " in text and (out / "forecast.png").exists()
    rows = run("forecast/forecast.py", "--data", data, cwd=tmp_path).splitlines()
    assert rows[0] == "time,load" and rows[1].startswith("2023-03-02T00:00:00,")
    values = [float(row.split(",")[1]) for row in rows[1:]]
    assert len(values) == 24 and 40 < min(values) < max(values) < 150


def test_rows_and_cells_may_be_missing(forecast, tmp_path):
    path = tmp_path / "x.csv"
    path.write_text(
        "time,a,b\n2024-01-01 00:00,1,\n2024-01-01 01:00,,3\n\n2024-01-01 03:00,5,6\n"
    )
    start, step, names, series = forecast.read_csv(path)
    assert start.year == 2024 and step == timedelta(hours=1) and names == ["a", "b"]
    nan = np.nan
    np.testing.assert_array_equal(series, [[1, nan], [nan, 3], [nan, nan], [5, 6]])


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["2024-01-01,1", "2024-01-02,x", "2024-01-03,1"], "line 3: could not convert"),
        (
            ["2024-01-01,1", "2024-01-03,1", "2024-01-02,1"],
            "line 4: its time is not af",
        ),
        (
            ["2024-01-01,1", "2024-01-03,1", "2024-01-06,1"],
            "line 4: its time is no mul",
        ),
        (["2024-01-01,1"], "a column of times and one of numbers are needed"),
        (
            ["01/31/2024,1", "02/01/2024,2", "02/02/2024,1"],
            "line 2: '01/31/2024' in the first column is no time such as 2024-01-31",
        ),
        (
            ["2024-01-01,1", "2024-01-02", "2024-01-03,1"],
            "line 3: 1 cells under 2 names",
        ),
        (
            ["2024-01-01T00:00,1", "2024-01-02T00:00+00:00,2", "2024-01-03T00:00,1"],
            "line 3: some times have an offset",
        ),
        (
            ["", "2024-01-01,1", "2024-01-02,1", "x,2"],
            "line 5: 'x' in the first column is no time",
        ),
    ],
)
def test_files_that_are_no_series_are_refused_with_the_line(
    forecast, tmp_path, rows, message
):
    path = tmp_path / "x.csv"
    path.write_text("\n".join(["time,a", *rows]))
    with pytest.raises(ValueError, match=message):
        forecast.read_csv(path)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("2023-12-31,1", "the first line is to name the columns, but begins with a t"),
        ("time;a", "separated by commas, and 3 rows; its first line is 'time;a'"),
        ("time,a,a", "two columns have one name: time, a, a"),
        ("time,\xfc", "save it as UTF-8"),
    ],
)
def test_the_first_line_names_the_columns(forecast, tmp_path, header, message):
    path = tmp_path / "x.csv"
    rows = [f"2024-01-0{day},1" for day in (1, 2, 3)]
    path.write_text("\n".join([header, *rows]), encoding="latin-1")
    with pytest.raises(ValueError, match=message):
        forecast.read_csv(path)


def test_the_made_file_has_gaps_of_both_kinds(forecast, tmp_path):
    path = tmp_path / "load.csv"
    forecast.make_csv(path, days=40)
    with open(path, newline="") as file:
        rows = list(csv.reader(file))
    assert len(rows) - 1 < 40 * 24 and any("" in row for row in rows)
    assert forecast.read_csv(path)[3].shape == (40 * 24, 3)
