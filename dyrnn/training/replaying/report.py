"""The figures of a replay as text, as a table for other programs, and as a picture."""

from __future__ import annotations

import csv
import io
import math
import os

import numpy as np

from dyrnn.console import harmless
from dyrnn.serializers.atomic import atomic_output

_TEXTS, _WIDTH = 5, 70  # of a batch that are shown, and characters of each


def text_of(replay):
    """Return a replay as text: what it is, whether it is the run, and its figures."""
    lines = [*_head(replay), ""]
    if len(replay.figures) > 1:
        loss, gradient = replay.worst(), replay.worst("gradient")
        value = _number(loss.values.get("main/loss", math.nan))
        norm = _number(gradient.norm("gradient"))
        lines += [
            f"worst by loss: iteration {loss.iteration}, main/loss {value}",
            f"worst by gradient: iteration {gradient.iteration}, norm {norm}",
        ]
        for figures in {f.iteration: f for f in (loss, gradient)}.values():
            lines += ["", f"iteration {figures.iteration}", *_one(figures)]
    elif replay.figures:
        lines += _one(replay.figures[0])
    origin = [*replay.origin, *(replay.figures[-1].origin if replay.figures else ())]
    if replay.error is not None:
        lines += ["", f"the run ended: {replay.error}", *origin]
    return "\n".join(lines)


def _head(replay):
    asked = f"iteration {replay.first}"
    if replay.last > replay.first:
        asked = f"iterations {replay.first} to {replay.last}"
    start = "its beginning"
    if replay.start is not None:
        start = f"{os.path.basename(replay.start)} (iteration {replay.start_iteration})"
    yield f"{asked} of {replay.out}, replayed from {start}"
    if replay.is_same:
        yield f"the same run: {_count(replay.rows, 'row')} of the log came out equal"
    elif replay.is_same is None:
        yield "whether it is the same run is not known: the log has no row for it"
    else:
        yield "NOT THE SAME RUN:"
        yield from (f"  {each}" for each in replay.differences)
        if not replay.changes:
            yield (
                "  Machine, versions and settings are not known to be others: look for "
                "changes in the data, the program and its arguments"
            )
    yield from (f"  {each}" for each in replay.changes)
    if replay.end < replay.last and replay.error is None:
        yield f"the run ended after iteration {replay.end}"


def _one(figures):
    """Yield the lines of an iteration."""
    for key, value in figures.values.items():
        yield f"{key}: {_number(value)}"
    yield "batch:"
    for name, arrays in figures.batch:
        yield f"  {name}: {_describe(arrays)}"
    for text in figures.texts[:_TEXTS]:
        cut = text if len(text) <= _WIDTH else text[:_WIDTH] + "..."
        yield f"    {cut}"
    if len(figures.texts) > _TEXTS:
        yield f"    and {len(figures.texts) - _TEXTS} more"
    if figures.parameters:
        yield ""
        rows = [
            [path, str(each.shape), *map(_number, _norms(each))]
            for path, each in figures.parameters.items()
        ]
        names = ("value", "gradient", "update")
        rows.append(["all", "", *(_number(figures.norm(name)) for name in names), ""])
        yield from _table(
            ["norms", "shape", "value", "gradient", "update", "update/value"], rows
        )
        hooked = figures.norm("hooked")
        if hooked not in (None, figures.norm("gradient")):
            yield (
                "  after the hooks of the optimizer, the norm of the gradient is "
                f"{_number(hooked)}"
            )
    if figures.activations:
        yield ""
        rows = [
            [
                each.place,
                *map(_number, (each.mean, each.norm)),
                "" if each.saturated is None else f"{100 * each.saturated:.1f} %",
                str(each.nonfinite),
                os.path.basename(each.line),
            ]
            for each in figures.activations
        ]
        head = ["activations", "mean", "norm", "saturated", "not finite", "line"]
        yield from _table(head, rows)
    for name, value in figures.probes.items():
        yield f"{name}: {value}"


def _norms(norms):
    has_share = norms.update is not None and norms.value
    share = norms.update / norms.value if has_share else None
    return norms.value, norms.gradient, norms.update, share


def _table(head, rows):
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    for row in (head, *rows):
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield "  " + "  ".join(cells).rstrip()


def _number(value):
    return "-" if value is None else f"{value:.6g}"


def _count(n, noun):
    return f"{n} {noun}{'' if n == 1 else 's'}"


def _describe(arrays):
    if isinstance(arrays, list):
        shapes = ", ".join(str(np.shape(array)) for array in arrays[:4])
        more = ", ..." if len(arrays) > 4 else ""
        return f"{_count(len(arrays), 'array')} of shapes {shapes}{more}"
    text = f"{arrays.dtype} {arrays.shape}"
    if arrays.size and arrays.dtype.kind in "buif":
        lowest, highest = float(arrays.min()), float(arrays.max())
        text += f", from {_number(lowest)} to {_number(highest)}"
    return text


def decoded(batch, decode):
    """Return the texts of a batch: its own, or those of its first part of ids."""
    own = [arrays for _, arrays in batch if _kind(arrays) == "U"]
    if own:
        return [_one_line(" | ".join(row)) for row in zip(*own, strict=False)]
    for name, arrays in batch if decode is not None else ():
        rows = arrays if isinstance(arrays, list) else list(arrays)
        if not all(np.ndim(row) == 1 and row.dtype.kind in "iu" for row in rows):
            continue
        if "(T, B" in name:
            rows = list(np.asarray(arrays).T)
        return [_one_line(decode(row)) for row in rows]
    return []


def _kind(arrays):
    return "" if isinstance(arrays, list) else arrays.dtype.kind


def _one_line(text):
    return harmless(text).replace("\n", "\\n")


def flat(figures):
    """Return the figures of an iteration as numbers by name."""
    row = {"iteration": figures.iteration, "epoch": figures.epoch, **figures.values}
    row.update((f"{name} norm", figures.norm(name)) for name in _NORMS)
    for path, norms in figures.parameters.items():
        row.update((f"{path} {name}", getattr(norms, name)) for name in _NORMS)
    for each in figures.activations:
        for name in ("mean", "norm", "saturated", "nonfinite"):
            row[f"{each.place} {name}"] = getattr(each, name)
    for name, value in figures.probes.items():
        if np.ndim(value) == 0:
            row[name] = value
    return row


_NORMS = ("value", "gradient", "hooked", "update")


def write_csv(path, all_figures):
    """Write a line for each iteration, under a line of names."""
    rows = [flat(figures) for figures in all_figures]
    names = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO(newline="")
    lines = csv.DictWriter(text, names)
    lines.writeheader()
    lines.writerows(rows)
    with atomic_output(path) as output:
        output.write(text.getvalue().encode())


def draw(figure, all_figures):
    """Draw losses, norms and saturation over the iterations."""
    rows = [flat(figures) for figures in all_figures]
    x = [row["iteration"] for row in rows]
    axes = figure.subplots(3, sharex=True)
    curves = [
        [key for key in rows[0] if key.endswith("loss")],
        ["gradient norm", "hooked norm", "update norm"],
        [key for key in rows[0] if key.endswith(" saturated")],
    ]
    labels = "loss", "L2 norm", "share saturated"
    for each, keys, label in zip(axes, curves, labels, strict=True):
        for key in keys:
            y = [row.get(key) for row in rows]
            if any(value is not None for value in y):
                y = [math.nan if value is None else value for value in y]
                each.plot(x, y, label=key)
        each.set_ylabel(label)
        each.grid(True, alpha=0.3)
        if each.lines:
            each.legend(fontsize="small")
    axes[1].set_yscale("log")
    axes[2].set_xlabel("iteration")
