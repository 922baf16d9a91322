"""Forecast what follows a CSV file, with a model that train_forecast.py saved.

Prints the times and the values as CSV. The model's file has all it needs: the scaler,
the columns, and how long a window is.
"""

import argparse
import csv
import sys
from datetime import timedelta

import numpy as np

import dyrnn
from dyrnn import command_line
from dyrnn.datasets import SeriesWindows, concat_examples
from series_csv import read_csv
from train_forecast import calendar, load


def forecast(model, about, path):
    """Return the times and values that follow a file."""
    start, step, names, series = read_csv(path)
    missing = [name for name in about["columns"] if name not in names]
    if missing:
        raise ValueError(f"{path} has no column {missing[0]!r}, which the model reads")
    if step != timedelta(seconds=about["step"]):
        raise ValueError(
            f"{path} has a row every {step}, the model one every "
            f"{timedelta(seconds=about['step'])}"
        )
    if len(series) < about["steps"]:
        raise ValueError(
            f"{path} has {len(series)} rows; the model reads {about['steps']}"
        )
    steps, horizon, n = about["steps"], about["horizon"], len(series)
    series = series[-steps:, [names.index(name) for name in about["columns"]]]
    known = calendar(start, step, n - steps, steps + horizon)
    scaled = model.scaler(series.astype(np.float32)).array
    ahead = np.zeros((horizon, scaled.shape[1]), np.float32)  # not looked at
    window = SeriesWindows(
        np.concatenate([scaled, ahead]), steps, horizon, covariates=known, gaps=True
    )
    x, ahead, _, _ = concat_examples(window[:])
    with dyrnn.using_config("train", False), dyrnn.no_backprop_mode():
        values = model.scaler.inverse(model.predict(x, ahead), [0]).array[:, 0, 0]
    return [start + step * (n + i) for i in range(horizon)], values


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=command_line.HelpFormatter
    )
    add = parser.add_argument
    add(
        "--model", "-m", default="result/forecast/model.npz", help="what training saved"
    )
    add("--data", default="result/forecast/load.csv", help="a CSV file")
    args = parser.parse_args()
    model, about = load(args.model)
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["time", about["columns"][0]])
    for time, value in zip(*forecast(model, about, args.data), strict=True):
        writer.writerow([time.isoformat(), f"{value:.3f}"])


if __name__ == "__main__":
    command_line.run(main)
