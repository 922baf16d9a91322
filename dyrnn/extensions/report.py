"""One page in HTML about a run, or several beside each other.

    python -m dyrnn.extensions.report RESULT_DIR [MORE...] [-o report.html]

The page needs no other file and no network: curves of all that ``log.jsonl`` has, the
last and the best values, the configuration, throughput, pictures and texts of the run.
"""

from __future__ import annotations

import argparse
import base64
import html
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dyrnn import command_line
from dyrnn.extensions.logs import read_log
from dyrnn.serializers.atomic import atomic_output

COLORS = "#1f77b4 #d62728 #2ca02c #9467bd #ff7f0e #8c564b #17becf #7f7f7f".split()
WIDTH, HEIGHT, LEFT, BOTTOM = 460, 220, 62, 28
CLOCKS = "epoch", "iteration", "elapsed_time"
MOST_BYTES = 2_000_000  # of a picture or text that is put into the page
STYLE = """
:root { color-scheme: light dark; font-family: system-ui, sans-serif; }
body { margin: 2rem auto; max-width: 72rem; padding: 0 1rem; }
main { display: flex; flex-wrap: wrap; gap: 1rem; }
figure { margin: 0; } figcaption { font-weight: 600; }
svg { max-width: 100%; height: auto; } svg text { font-size: 11px; fill: currentColor; }
table { border-collapse: collapse; display: block; margin: 1rem 0; overflow-x: auto; }
td, th { border-bottom: 1px solid #8884; padding: .2rem .8rem .2rem 0; }
th { text-align: left; } h1, h2, h3, figcaption { overflow-wrap: anywhere; }
pre { overflow: auto; max-height: 24rem; } img { max-width: 100%; }
"""


def render(folders: Sequence[Any], log: str = "log.jsonl") -> str:
    """Return the page about the runs in these folders.

    Parameters
    ----------
    folders : sequence of path
        What trainers had as ``out``.
    log : str
        The `LogReport`'s file there.

    Raises
    ------
    FileNotFoundError
        If there is no log in a folder.
    """
    runs = {}
    for folder in map(Path, folders):
        path = folder / log
        if not path.exists():
            raise FileNotFoundError(
                f"there is no {log} in {folder}: name a directory that a trainer with "
                "a LogReport wrote to"
            )
        runs[str(folder)] = read_log(path)
    names = dict.fromkeys(k for rows in runs.values() for row in rows for k in row)
    curves = [_curve(name, runs) for name in names if name not in CLOCKS]
    title = ", ".join(html.escape(Path(name).name) for name in runs)
    parts = [_values(runs), "<main>", *filter(None, curves), "</main>"]
    parts += [_settings(runs), *(_files(Path(name)) for name in runs)]
    return (
        "<!doctype html>\n"
        f'<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        '<meta name="viewport" content="width=device-width">'
        '<link rel="icon" href="data:,">'
        f"<style>{STYLE}</style></head><body><h1>{title}</h1>\n"
        + "\n".join(parts)
        + "</body></html>\n"
    )


def _number(value):
    """Return a value as a finite float, None if it is none that can be drawn."""
    try:
        number = float(value) if isinstance(value, int | float) else math.nan
    except OverflowError:  # a whole number may have any number of digits
        return None
    return number if abs(number) < 1e300 else None


def _numbers(rows, name):
    """Return (iteration, value) of a log where both are finite numbers."""
    pairs = [(_number(row.get("iteration")), _number(row.get(name))) for row in rows]
    return [pair for pair in pairs if None not in pair]


def _curve(name, runs):
    lines = {run: _numbers(rows, name) for run, rows in runs.items()}
    points = [point for line in lines.values() for point in line]
    if not points:
        return ""
    (x0, x1), (y0, y1) = ((min(v), max(v)) for v in zip(*points, strict=True))
    dx, dy = (x1 - x0) or 1, (y1 - y0) or abs(y1) or 1

    def place(x, y):
        across = LEFT + (x - x0) / dx * (WIDTH - LEFT - 8)
        down = 8 + (y1 - y) / dy * (HEIGHT - BOTTOM - 8)
        return f"{across:.1f},{down:.1f}"

    drawn = []
    for color, (run, line) in zip(_colors(runs), lines.items(), strict=True):
        title = f"<title>{html.escape(run)}</title>"
        path = " ".join(place(*point) for point in line)
        drawn.append(
            f'<polyline fill="none" stroke="{color}" stroke-width="1.5" '
            f'points="{path}">{title}</polyline>'
        )
        if len(line) == 1:
            x, y = path.split(",")
            drawn.append(f'<circle cx="{x}" cy="{y}" r="3" fill="{color}"/>')
    base = HEIGHT - BOTTOM
    return (
        f"<figure><figcaption>{html.escape(name)}</figcaption>"
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" role="img">'
        f'<path d="M{LEFT} 8V{base}H{WIDTH - 8}" fill="none" stroke="#888"/>'
        f'<text x="{LEFT - 4}" y="14" text-anchor="end">{y1:.4g}</text>'
        f'<text x="{LEFT - 4}" y="{base}" text-anchor="end">{y0:.4g}</text>'
        f'<text x="{LEFT}" y="{HEIGHT - 10}">{x0:g}</text>'
        f'<text x="{WIDTH - 8}" y="{HEIGHT - 10}" text-anchor="end">{x1:g} iterations'
        f"</text>{''.join(drawn)}</svg></figure>"
    )


def _colors(runs):
    return [COLORS[i % len(COLORS)] for i in range(len(runs))]


def _table(header, rows):
    def line(cells, tag):
        return "<tr>" + "".join(f"<{tag}>{cell}</{tag}>" for cell in cells) + "</tr>"

    return (
        "<table>"
        + line(header, "th")
        + "".join(line(r, "td") for r in rows)
        + "</table>"
    )


def _values(runs):
    """Return a table of the last row of each run, and of its speed."""
    names = dict.fromkeys(k for rows in runs.values() for row in rows[-1:] for k in row)
    table = []
    for color, (run, rows) in zip(_colors(runs), runs.items(), strict=True):
        last = rows[-1] if rows else {}
        seconds = _number(last.get("elapsed_time"))
        done = _number(last.get("iteration"))
        speed = done / seconds if seconds and done is not None else math.nan
        cells = [last.get(name, "") for name in names]
        table.append(
            [f'<span style="color:{color}">&#9632;</span> {html.escape(run)}']
            + [
                f"{c:.5g}" if isinstance(c, float) else html.escape(str(c))
                for c in cells
            ]
            + [f"{speed:.3g}"]
        )
    header = ["run", *map(html.escape, names), "iterations per second"]
    return "<h2>Last values</h2>" + _table(header, table)


def _read_settings(path):
    """Return the dictionaries of a run's configuration."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        parts = {key: found.get(key, {}) for key in ("arguments", "environment")}
        if not all(isinstance(part, dict) for part in parts.values()):
            raise ValueError("its parts are no dictionaries")
    except (ValueError, AttributeError) as error:
        raise ValueError(
            f"{path}: no configuration that a program of dyrnn wrote ({error}); remove "
            "it for a page without"
        ) from None
    return parts


def _settings(runs):
    """Return a table of the arguments of each run, those that differ first."""
    found = {}
    for run in runs:
        path = Path(run) / "config.json"
        if path.exists():
            found[run] = _read_settings(path)
    flat = {
        run: {
            **settings["arguments"],
            **settings["environment"],
        }
        for run, settings in found.items()
    }
    if not flat:
        return ""
    names = dict.fromkeys(name for settings in flat.values() for name in settings)

    def values(name):
        return [str(settings.get(name, "")) for settings in flat.values()]

    order = sorted(names, key=lambda name: len(set(values(name))) == 1)
    rows = [[html.escape(n), *map(html.escape, values(n))] for n in order]
    return "<h2>Configuration</h2>" + _table(["", *map(html.escape, flat)], rows)


def _files(folder):
    """Return the pictures and texts that a run left."""
    parts = []
    for path in sorted(folder.iterdir()):
        if not path.is_file() or path.stat().st_size > MOST_BYTES:
            continue
        name = html.escape(path.name)
        if path.suffix == ".png":
            data = base64.b64encode(path.read_bytes()).decode()
            image = f'<img alt="{name}" src="data:image/png;base64,{data}">'
            parts.append(f"<figure><figcaption>{name}</figcaption>{image}</figure>")
        elif path.suffix == ".txt":
            text = html.escape(path.read_text(encoding="utf-8", errors="replace"))
            parts.append(f"<h3>{name}</h3><pre>{text}</pre>")
    if not parts:
        return ""
    return f"<h2>Files of {html.escape(str(folder))}</h2>" + "\n".join(parts)


def main() -> None:
    """Write the page about the directories on the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m dyrnn.extensions.report",
        description=__doc__,
        formatter_class=command_line.HelpFormatter,
    )
    add = parser.add_argument
    add("folders", nargs="+", metavar="RESULT_DIR", help="what trainers wrote to")
    add("--output", "-o", help="default: report.html in the first directory")
    add("--log", default="log.jsonl", help="the log's name there")
    args = parser.parse_args()
    page = render(args.folders, args.log)
    output = Path(args.output or Path(args.folders[0]) / "report.html")
    with atomic_output(output) as file:
        file.write(page.encode())
    print(output)


if __name__ == "__main__":
    command_line.run(main)
