"""The forecast example: files with gaps, better than naive, in another process, too."""

import csv
import json
from datetime import datetime, timedelta, timezone

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
    assert found["model"] < found["24"]
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
        (["2024-01-01,1"], "a column of times and one of numbers are needed"),
        (
            ["first,1", "second,2", "third,1"],
            "line 2: 'first' in the first column is no",
        ),
        (["2024-01-01,1", "2024-01-02", "2024-01-03,1"], "line 3: 1 cells under 2"),
        (["2024-01-01,1", "2024-01-02,inf", "2024-01-03,1"], "line 3: an infinite"),
        (["2024-01-01,1"] * 3, "all rows have the same time"),
        (["2024-01-01,a", "2024-01-02,b", "2024-01-03,c"], "no column but that of the"),
        (
            ["2024-01-01,1", "2024-01-02,1", "2024-01-03,1", "2024-01-03 09:00,1"],
            "line 5: its time is no multiple of 1 day",
        ),
        (
            [f"{m}/{d}/2024,1" for d, m in zip("1234", "1234", strict=True)],
            "Write 2024-01-31|no multiple",
        ),
        (
            ["2024-01-01T00:00,1", "2024-01-02T00:00+00:00,2", "2024-01-03T00:00,1"],
            "line 3: some times have an offset",
        ),
        (
            ["", "2024-01-01,1", "2024-01-02,1", "x,2"],
            "line 5: 'x' is no time such as '2024-01-01'",
        ),
        (
            ["1924-01-01,1", "2024-01-01,1", "2024-01-02,1", "2024-01-03,2"],
            "is one of these times wrong",
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
        ("2023-12-31,1", "the first line is to name the columns, but has a time"),
        ("time", "and 3 rows; its first line is 'time'"),
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


HOURS = [datetime(2024, 10, 26) + timedelta(hours=n) for n in range(72)]
FORMS = {
    "iso": ",",
    "%Y-%m-%dT%H:%M:%S+00:00": ",",
    "%Y-%m-%dT%H:%M:%SZ": ",",
    "%d.%m.%Y %H:%M": ";",
    "%d/%m/%Y %H:%M:%S": "\t",
    "%m/%d/%Y %I:%M %p": ",",
    "%Y/%m/%d %H:%M": ",",
    "%d-%b-%Y %H:%M": ",",
    "%d/%m/%Y;%H:%M:%S": ";",
    "seconds": ",",
    "milliseconds": ",",
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("order", [1, -1])
def test_times_as_people_write_them(forecast, tmp_path, form, order):
    separator, path = FORMS[form], tmp_path / "x.csv"

    def written(time):
        stamp = time.replace(tzinfo=timezone.utc).timestamp()
        special = {
            "iso": time,
            "seconds": int(stamp),
            "milliseconds": int(stamp * 1000),
        }
        return special.get(form) or time.strftime(form)

    point = "." if separator == "," else ","
    rows = [[written(t), f"{n}{point}5", "?"] for n, t in enumerate(HOURS)]
    del rows[7]
    names = ["time", *(["clock"] if form.count(";") else []), "a", "b"]
    lines = [names, *rows[::order]]
    path.write_text("\n".join(separator.join(map(str, line)) for line in lines))
    start, step, names, values = forecast.read_csv(path)
    assert start.replace(tzinfo=None) == HOURS[0] and step == timedelta(hours=1)
    expected = np.arange(72) + 0.5
    expected[7] = np.nan
    np.testing.assert_array_equal(values[:, 0], expected)
    assert names[0] == "a" and len(values) == 72


def test_clocks_that_drift_texts_and_hours_that_come_twice(forecast, tmp_path, capsys):
    path = tmp_path / "x.csv"
    rng = np.random.default_rng(0)
    times = [t + timedelta(seconds=int(rng.integers(-60, 60))) for t in HOURS]
    times.insert(4, times[3])
    rows = [f"{n},{t},{n},sunny" for n, t in enumerate(times)]
    path.write_text("\n".join([",when,a,weather", *rows]))
    _, step, names, values = forecast.read_csv(path)
    assert step == timedelta(hours=1) and names == ["a"] and len(values) == 72
    assert values[3:5, 0].tolist() == [3, 5]
    told = capsys.readouterr().err
    assert "left out: weather" in told and "1 rows have the time of another" in told


RHYTHMS = {
    "hours": (timedelta(hours=1), [24, 168], 168, 24),
    "ten minutes": (timedelta(minutes=10), [144, 1008], 288, 144),
    "days": (timedelta(days=1), [7], 56, 7),
    "weeks": (timedelta(weeks=1), [52], 52, 4),
    "minutes": (timedelta(minutes=1), [60], 240, 60),
    "seven hours": (timedelta(hours=7), [24], 192, 24),
    "months": (timedelta(days=30.4375), [1], 32, 8),
}


@pytest.mark.parametrize("name", RHYTHMS)
def test_the_step_says_what_repeats_itself(forecast, name):
    step, *expected = RHYTHMS[name]
    assert list(forecast.rhythm(step)) == expected


def test_days_are_forecast_and_a_dry_run_writes_nothing(tmp_path):
    data = tmp_path / "days.csv"
    days = [datetime(2023, 1, 1) + timedelta(days=n) for n in range(300)]
    rows = [f"{t:%d.%m.%Y};{5 + n % 7},5" for n, t in enumerate(days)]
    data.write_text("\n".join(["Datum;Absatz", *rows]))
    args = ("--data", data, "--epoch", "1", "--unit", "4")
    text = run(SCRIPT, *args, "--dry-run", cwd=tmp_path)
    assert "dry run" in text and sorted(tmp_path.iterdir()) == [data]
    text = run(SCRIPT, *args, cwd=tmp_path)
    assert "over 7 steps of 1 day" in text and "as 7 before 0.000" in text
    rows = run("forecast/forecast.py", "--data", data, cwd=tmp_path).splitlines()
    assert rows[0] == "time,Absatz" and rows[1].startswith("2023-10-28T00:00:00,")
    assert len(rows) == 8


def test_the_made_file_has_gaps_of_both_kinds(forecast, tmp_path):
    path = tmp_path / "load.csv"
    forecast.make_csv(path, days=40)
    with open(path, newline="") as file:
        rows = list(csv.reader(file))
    assert len(rows) - 1 < 40 * 24 and any("" in row for row in rows)
    assert forecast.read_csv(path)[3].shape == (40 * 24, 3)
