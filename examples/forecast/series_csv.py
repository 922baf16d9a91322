"""Read a series at equal steps from a CSV file, as loggers and spreadsheets write them.

Cells are separated by commas, semicolons or tabs; with the latter two, a comma is the
decimal point. One column has the times, as ISO 8601, in one of `FORMS` or as Unix time;
others that are no numbers are left out. Rows and cells may be missing, and rows may
stand in any order.
"""

import collections
import csv
import itertools
import re
import sys
from datetime import datetime, timedelta, timezone
from typing import NamedTuple

import numpy as np

MISSING = {"", "nan", "na", "n/a", "null", "none", "-", "--", "?", "#n/a"}
DATES = "%Y%m%d %d.%m.%Y %m/%d/%Y %d/%m/%Y %Y/%m/%d %d-%m-%Y %d-%b-%Y %d/%b/%Y".split()
CLOCKS = "", " %H:%M", " %H:%M:%S", " %H:%M:%S.%f", " %I:%M %p", " %I:%M:%S %p"
FORMS = [date + clock for date in DATES for clock in CLOCKS]
ROUND = [timedelta(seconds=n) for n in (1, 5, 10, 30)]
ROUND += [
    timedelta(minutes=n) for n in (1, 2, 5, 10, 15, 20, 30, 60, 120, 180, 360, 720)
]
ROUND += [timedelta(days=n) for n in (1, 7)]
SLACK = 0.1  # of a step, by which a logger may be early or late


class Series(NamedTuple):
    """Values at equal steps: (N, F), NaN where there is none."""

    start: datetime
    step: timedelta
    names: list
    values: np.ndarray


def read_csv(path):
    """Return the `Series` of a file."""
    header, rows, is_comma = read_cells(path)
    columns = time_columns(path, header, rows)
    texts = [" ".join(row[i].strip() for i in columns) for _, row in rows]
    lines = [line for line, _ in rows]
    readings = read_times(path, list(zip(lines, texts, strict=True)))
    names, values = read_numbers(path, header, rows, columns, is_comma)
    found, errors = [], []
    for times in readings:
        try:
            found.append(on_grid(path, lines, times, values))
        except ValueError as error:
            errors.append(error)
    if not found:
        raise errors[0]
    if len(found) > 1:
        raise ValueError(
            f"{path}: is {texts[0]!r} the {found[0][0]:%d %B} or the "
            f"{found[1][0]:%d %B}? Write 2024-01-31"
        )
    start, step, series = found[0]
    return Series(start, step, names, series)


def read_cells(path):
    """Return the names, the rows with their lines, and whether commas separate."""
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            first = file.readline()
            separator = max(",;\t", key=first.count)
            file.seek(0)
            header, *rows = list(csv.reader(file, delimiter=separator)) or [[]]
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: {error}; save it as UTF-8") from None
    header = [name.strip().removeprefix("\ufeff") for name in header]
    rows = [(line, row) for line, row in enumerate(rows, 2) if any(map(str.strip, row))]
    if len(rows) < 3 or len(header) < 2:
        raise ValueError(
            f"{path}: a column of times and one of numbers are needed, separated by "
            f"commas, and 3 rows; its first line is {first.strip()[:60]!r}"
        )
    if any(times_of(cell) for cell in header):
        cell = next(cell for cell in header if times_of(cell))
        raise ValueError(
            f"{path}: the first line is to name the columns, but has a time, {cell!r}"
        )
    if len(set(header)) < len(header):
        raise ValueError(f"{path}: two columns have one name: {', '.join(header)}")
    for line, row in rows:
        if len(row) != len(header):
            raise ValueError(
                f"{path}, line {line}: {len(row)} cells under {len(header)} names"
            )
    return header, rows, separator == ","


def unix(text):
    """Return the time of seconds or milliseconds since 1970, from 1980 on."""
    number = float(text)
    number /= 1000 if number > 1e11 else 1
    if not 3e8 < number < 1e10:
        raise ValueError(f"{text!r} is no Unix time")
    return datetime.fromtimestamp(number, timezone.utc).replace(tzinfo=None)


def iso(text):
    if text.isdigit() and len(text) != 8:  # 20240131 is a day
        raise ValueError(f"{text!r} is a number")
    return datetime.fromisoformat(re.sub("[zZ]$", "+00:00", text))


def of_form(form):
    return lambda text: datetime.strptime(text, form)


READERS = [iso, unix, *map(of_form, FORMS)]


def times_of(text):
    """Return what reads a text as a time."""
    found = []
    for read in READERS:
        try:
            read(text.strip())
        except (ValueError, OverflowError):
            continue
        found.append(read)
    return found


def time_columns(path, header, rows):
    """Return the first column that has times, with a next one that has the clock's."""
    first = rows[0][1]
    for column, cell in enumerate(first):
        readers = times_of(cell)
        is_named = re.search("time|date|stamp|zeit|datum", header[column].lower())
        if readers and (readers != [unix] or is_named):
            after = first[column + 1].strip() if column + 1 < len(first) else ""
            is_split = ":" not in cell and re.fullmatch(r"\d?\d:\d\d(:\d\d)?", after)
            return (column, column + 1) if is_split else (column,)
    raise ValueError(
        f"{path}, line {rows[0][0]}: {first[0]!r} in the first column is no time such "
        "as 2024-01-31 or 2024-01-31 18:00, and none is in the others"
    )


def read_times(path, cells):
    """Return the times of all rows, in each way that they can be read."""
    found, farthest = [], (-1, "")
    for read in times_of(cells[0][1]):
        times = []
        try:
            for _, text in cells:
                times.append(read(text))
            if len({time.tzinfo is None for time in times}) > 1:
                aware = times[0].tzinfo is None
                odd = next(
                    i for i, t in enumerate(times) if (t.tzinfo is None) != aware
                )
                del times[odd:]
                raise ValueError("some times have an offset from UTC, others do not")
        except ValueError as error:
            farthest = max(farthest, (len(times), str(error)))
            continue
        found.append(times)
    if not found:
        n, error = farthest
        if "offset" not in error:
            error = f"{cells[n][1]!r} is no time such as {cells[0][1]!r}"
        raise ValueError(f"{path}, line {cells[n][0]}: {error}")
    return found


def read_numbers(path, header, rows, time_columns, is_comma):
    """Return the names and values (N, F) of the columns that are numbers."""
    names, columns, without = [], [], []
    for column, name in enumerate(header):
        is_index = not name and rows[0][1][column].strip() == "0"  # as pandas writes
        if column in time_columns or is_index:
            continue
        values, failed = np.full(len(rows), np.nan), None
        for i, (line, row) in enumerate(rows):
            cell = row[column].strip()
            if cell.lower() in MISSING:
                continue
            try:
                values[i] = float(cell if is_comma else cell.replace(",", "."))
            except ValueError as error:
                failed = failed or f"{path}, line {line}: {error}"
        if failed is None and np.isinf(values).any():
            row = rows[np.isinf(values).argmax()][0]
            raise ValueError(f"{path}, line {row}: an infinite value of {name!r}")
        if failed and not np.isnan(values).all():
            raise ValueError(failed)
        if failed:
            without.append(name)
            continue
        names.append(name)
        columns.append(values)
    if without:
        print(f"{path}: no numbers, left out: {', '.join(without)}", file=sys.stderr)
    if not columns:
        raise ValueError(f"{path}: no column but that of the times has numbers")
    return names, np.stack(columns, axis=1)


def commonest(steps):
    """Return the step that most rows are apart, if clocks are a little off, too."""
    counts = collections.Counter(steps)
    step = min(counts, key=lambda each: (-counts[each], each))
    alike = sorted(each for each in steps if abs(each / step - 1) < SLACK)
    if 2 * counts[step] > len(alike):
        return step
    middle = alike[len(alike) // 2]
    near = min(ROUND, key=lambda each: abs(each / middle - 1))
    return near if abs(near / middle - 1) < SLACK else middle


def on_grid(path, lines, times, values):
    """Return the first time, the step, and values at all steps."""
    order = sorted(range(len(times)), key=times.__getitem__)
    times = [times[i] for i in order]
    steps = [b - a for a, b in itertools.pairwise(times) if b > a]
    if not steps:
        raise ValueError(f"{path}: all rows have the same time")
    step = commonest(steps)
    places = np.array([(time - times[0]) / step for time in times])
    # Loggers that drift stay near the grid; a month, or a stray row, does not.
    odd = np.flatnonzero(abs(places - np.round(places)) > SLACK)
    if len(odd):
        raise ValueError(
            f"{path}, line {lines[order[odd[0]]]}: its time is no multiple of {step}, "
            "the commonest step, after the first"
        )
    places = np.round(places).astype(int)
    if places[-1] > 20 * len(times) + 1000:
        raise ValueError(
            f"{path}: {len(times)} rows for {places[-1] + 1} steps of {step}, from "
            f"{times[0]} to {times[-1]}: is one of these times wrong?"
        )
    is_first = np.diff(places, prepend=-1) > 0
    if not is_first.all():
        n, line = (~is_first).sum(), lines[order[(~is_first).argmax()]]
        print(
            f"{path}: {n} rows have the time of another one, as where summer time "
            f"ends; the first of each counts. Line {line} is one.",
            file=sys.stderr,
        )
    series = np.full((places[-1] + 1, values.shape[1]), np.nan)
    series[places[is_first]] = values[np.array(order)[is_first]]
    return times[0], step, series
