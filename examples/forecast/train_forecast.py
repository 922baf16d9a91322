"""Forecast the next 24 hours of a column of a CSV file from the week before.

The file has a column of timestamps at equal steps, some of which may be missing, and
columns of numbers with gaps. Without --data one is made: two years of an electric load,
with the temperature and the wind, and holes as loggers leave them.
"""

import argparse
import csv
import itertools
import json
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

import dyrnn
import dyrnn.functions as F
import dyrnn.links as L
from dyrnn import command_line, extensions, optimizers, serializers, training
from dyrnn.datasets import SeriesWindows
from dyrnn.iterators import SerialIterator

PERIODS = 24, 168  # hours of a day and of a week


class Forecaster(dyrnn.Chain):
    """An encoder reads the window, a decoder the calendar of the hours to come."""

    def __init__(self, n_series, n_calendar, n_targets, units):
        super().__init__()
        with self.init_scope():
            self.scaler = L.StandardScaler(n_series)
            self.encoder = L.LSTM(2 * n_series + n_calendar, units)
            self.decoder = L.LSTM(n_calendar + n_targets, units)
            self.out = L.Linear(units, n_targets)

    def predict(self, x, calendar):
        """Return standardised values (S, B, K) that follow a window (T, B, ...)."""
        self.reset_state()
        self.encoder(x)
        self.decoder.set_state(self.encoder.c, self.encoder.h)
        times = len(x) - PERIODS[0] + np.arange(len(calendar)) % PERIODS[0]
        day_before = x[times][..., : self.out.out_size]
        h = self.decoder(F.concat([calendar, day_before], axis=-1))
        return day_before + self.out(h)

    def forward(self, x, calendar, t, weights):
        squares = F.square(self.predict(x, calendar) - t) * weights
        return F.sum(squares) / weights.sum()


def make_csv(path, seed=0, days=730):
    """Write hours of load, temperature and wind, with rows and cells missing."""
    rng = np.random.default_rng(seed)
    hours = np.arange(24 * days)
    day, week, year = (2 * np.pi * hours / n for n in (24, 168, 8766))
    drift = np.zeros(len(hours))
    noise = rng.normal(0, 0.35, len(hours))
    for i in range(1, len(hours)):  # weather that lasts some days
        drift[i] = 0.985 * drift[i - 1] + noise[i]
    temperature = 10 - 9 * np.cos(year) - 4 * np.cos(day - 0.7) + drift
    wind = np.exp(1 + 0.5 * np.sin(year + 1) + 0.3 * rng.normal(size=len(hours)))
    is_weekend = (hours // 24) % 7 >= 5
    work = np.exp(2 * np.cos(day - 2.6)) / 3 + np.exp(3 * np.cos(day - 4.9)) / 6
    load = 50 + 14 * work * np.where(is_weekend, 0.55, 1) + 3 * np.sin(week)
    load += 1.1 * np.maximum(15 - temperature, 0) + 1.5 * np.maximum(
        temperature - 22, 0
    )
    load += rng.normal(0, 1.2, len(hours))
    columns = {"load": load, "temperature": temperature, "wind": wind}
    start = datetime(2023, 1, 1)
    has_row = np.ones(len(hours), bool)
    for _ in range(12):  # the logger was off
        first = rng.integers(len(hours))
        has_row[first : first + rng.integers(2, 40)] = False
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["time", *columns])
        for i in hours[has_row]:
            cells = [
                f"{v[i]:.2f}" if rng.random() > 0.01 else "" for v in columns.values()
            ]
            writer.writerow([(start + timedelta(hours=int(i))).isoformat(), *cells])


def is_time(cell):
    try:
        datetime.fromisoformat(cell.strip())
    except ValueError:
        return False
    return True


def read_csv(path):
    """Return the time of the first row, the step, names, and values (N, F) with NaN."""
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            header, *rows = list(csv.reader(file)) or [[]]
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: {error}; save it as UTF-8") from None
    numbered = [(line, row) for line, row in enumerate(rows, 2) if row]
    if len(numbered) < 3 or len(header) < 2:
        raise ValueError(
            f"{path}: a column of times and one of numbers are needed, separated by "
            f"commas, and 3 rows; its first line is {','.join(header)[:60]!r}"
        )
    if is_time(header[0]):
        raise ValueError(
            f"{path}: the first line is to name the columns, but begins with a time, "
            f"{header[0]!r}"
        )
    if len(set(header)) < len(header):
        raise ValueError(f"{path}: two columns have one name: {', '.join(header)}")
    times = []
    values = np.full((len(numbered), len(header) - 1), np.nan)
    for i, (line, row) in enumerate(numbered):
        try:
            if len(row) != len(header):
                raise ValueError(f"{len(row)} cells under {len(header)} names")
            if not is_time(row[0]):
                raise ValueError(
                    f"{row[0]!r} in the first column is no time such as "
                    "2024-01-31 or 2024-01-31 18:00"
                )
            times.append(datetime.fromisoformat(row[0].strip()))
            if (times[-1].tzinfo is None) != (times[0].tzinfo is None):
                raise ValueError("some times have an offset from UTC, others do not")
            for j, cell in enumerate(row[1:]):
                if cell.strip().lower() not in ("", "nan", "na", "null"):
                    values[i, j] = float(cell)
        except ValueError as error:
            raise ValueError(f"{path}, line {line}: {error}") from None
    steps = [b - a for a, b in itertools.pairwise(times)]
    step = min(steps)
    if step <= timedelta(0):
        line = numbered[steps.index(step) + 1][0]
        raise ValueError(f"{path}, line {line}: its time is not after the one before")
    places = np.array([(time - times[0]) / step for time in times])
    odd = np.flatnonzero(abs(places - np.round(places)) > 1e-6)
    if len(odd):
        raise ValueError(
            f"{path}, line {numbered[odd[0]][0]}: its time is no multiple of {step} "
            "after the first"
        )
    series = np.full((round(places[-1]) + 1, values.shape[1]), np.nan)
    series[np.round(places).astype(int)] = values
    return times[0], step, header[1:], series


def calendar(start, step, first, n):
    """Return sines and cosines (n, 6) of hour, weekday and day of the year."""
    times = [start + step * (first + i) for i in range(n)]
    turns = np.array(
        [
            [
                (time.hour + time.minute / 60) / 24,
                (time.weekday() + time.hour / 24) / 7,
                time.timetuple().tm_yday / 365.25,
            ]
            for time in times
        ]
    )
    angles = 2 * np.pi * turns
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1).astype(np.float32)


def windows(series, known, model, targets, args, stride):
    """Return windows of the standardised series."""
    scaled = model.scaler(series.astype(np.float32)).array
    return SeriesWindows(
        scaled,
        args.steps,
        args.horizon,
        stride,
        targets=scaled[:, targets],
        covariates=known,
        gaps=True,
    )


def save(path, model, description):
    serializers.save_npz(path, model, metadata={"forecast": description})


def load(path):
    """Return the model that a training saved, and what it is for."""
    found = serializers.read_manifest(path)["metadata"].get("forecast")
    if not isinstance(found, dict):
        raise ValueError(f"{path} is not a model that train_forecast.py saved")
    model = Forecaster(len(found["columns"]), 6, 1, found["units"])
    serializers.load_npz(path, model)
    return model, found


def errors(model, data):
    """Return the mean absolute error of the model, and of yesterday's and last week's.

    In standard deviations, over the targets that are there.
    """
    sums, count = np.zeros(3), 0.0
    size = min(256, len(data))
    for batch in SerialIterator(data, size, repeat=False, shuffle=False):
        x, known, t, weights = dyrnn.datasets.concat_examples(batch)
        with dyrnn.using_config("train", False), dyrnn.no_backprop_mode():
            y = model.predict(x, known).array
        guesses = [y]
        for period in PERIODS:
            times = len(x) - period + np.arange(len(t)) % period
            guesses.append(x[times][..., :1])
        sums += [(abs(guess - t) * weights).sum() for guess in guesses]
        count += weights.sum()
    return sums / count


def draw(figure, names, past, future, predicted):
    axes = figure.add_subplot(xlabel="hours", ylabel=names)
    axes.plot(np.arange(-len(past), 0), past, color="0.6", label="read")
    axes.plot(future, color="tab:green", label="came")
    axes.plot(predicted, color="tab:red", label="forecast")
    axes.legend(loc="upper left")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=command_line.HelpFormatter
    )
    number = command_line.number
    add = parser.add_argument
    add("--data", help="a CSV file (default: one that is made)")
    add("--column", help="what to forecast (default: the first one of numbers)")
    add("--steps", type=number(int, 168), default=168, help="hours to read")
    add("--horizon", type=number(int, 1, 168), default=24, help="hours to forecast")
    add("--unit", "-u", type=number(int, 1), default=64, help="LSTM units")
    add("--batchsize", "-b", type=number(int, 1), default=64, help="windows at once")
    add("--stride", type=number(int, 1), default=5, help="hours between windows")
    add("--lr", type=number(float, 0), default=0.003, help="of Adam")
    add("--epoch", "-e", type=number(int, 1), default=20, help="the most epochs")
    add("--patience", type=number(int, 1), default=4, help="epochs without a new best")
    command_line.add_common_options(parser, "result/forecast")
    args = parser.parse_args()
    if args.test:
        args.unit, args.epoch, args.stride = 4, 2, 97

    dyrnn.random.seed(args.seed)
    out = Path(args.out)
    if args.data is None:
        args.data = out / "load.csv"
        if not args.replay:
            out.mkdir(parents=True, exist_ok=True)
            make_csv(args.data)
    start, step, names, series = read_csv(args.data)
    column = args.column or names[0]
    if column not in names:
        raise ValueError(f"--column {column}: the file has {', '.join(names)}")
    order = [
        names.index(column),
        *(i for i, name in enumerate(names) if name != column),
    ]
    series, names = series[:, order], [names[i] for i in order]  # the target first
    known = calendar(start, step, 0, len(series))
    ends = int(0.7 * len(series)), int(0.85 * len(series))

    empty = np.isnan(series[: ends[0]]).all(axis=0)
    if empty.any():
        raise ValueError(
            f"{args.data}: column {names[empty.argmax()]!r} is empty in the part "
            "that is trained on; leave it out"
        )
    model = Forecaster(len(names), known.shape[1], 1, args.unit)
    model.scaler.fit(series[: ends[0]])
    parts = [slice(0, ends[0]), slice(*ends), slice(ends[1], None)]
    train, valid, test = (
        windows(series[part], known[part], model, [0], args, stride)
        for part, stride in zip(parts, (args.stride, 7, 1), strict=True)
    )
    optimizer = optimizers.Adam(args.lr).setup(model)
    optimizer.add_hook(dyrnn.optimizer_hooks.GradientClipping(1.0))
    updater = training.StandardUpdater(
        SerialIterator(train, min(args.batchsize, len(train))),
        optimizer,
        device=args.device,
    )
    stop = training.triggers.EarlyStoppingTrigger(
        monitor="validation/main/loss",
        patience=args.patience,
        max_trigger=(args.epoch, "epoch"),
    )
    trainer = training.Trainer(updater, stop, out)
    once = SerialIterator(valid, min(256, len(valid)), repeat=False, shuffle=False)
    trainer.extend(extensions.Evaluator(once, model, device=args.device))
    trainer.extend(extensions.BestWeights("validation/main/loss"))
    trainer.extend(extensions.LogReport())
    columns = ["epoch", "main/loss", "validation/main/loss", "elapsed_time"]
    trainer.extend(extensions.PrintReport(columns))
    trainer.extend(extensions.ProgressBar())
    settings = "steps", "horizon", "stride", "lr"
    command_line.extend_with_snapshots(trainer, args, (1, "epoch"), settings=settings)
    trainer.run()
    model.to_cpu()

    scale = float(model.scaler.scale[0])
    ours, day, week = scale * errors(model, test)
    print(f"mean absolute error over {args.horizon} steps, {column}, in the test part:")
    print(f"model {ours:.3f}, as 24 steps before {day:.3f}, as 168 before {week:.3f}")
    path = out / "model.npz"
    description = {"columns": names, "units": args.unit, "horizon": args.horizon}
    description |= {"steps": args.steps, "step": step.total_seconds()}
    description["test_error"] = float(ours)
    save(path, model, description)
    print(f"model saved: {path}")
    (out / "errors.json").write_text(
        json.dumps({"model": ours, "day": day, "week": week})
    )

    x, ahead, t, weights = dyrnn.datasets.concat_examples([test[len(test) // 2]])
    with dyrnn.using_config("train", False), dyrnn.no_backprop_mode():
        y = model.predict(x, ahead)

    def original(values):
        return model.scaler.inverse(values, [0]).array[:, 0, 0]

    is_there = x[:, 0, len(names)] > 0
    past = np.where(is_there, original(x[..., :1]), np.nan)
    future = np.where(weights[:, 0, 0] > 0, original(t), np.nan)
    picture = out / "forecast.png"
    if extensions.save_figure(
        picture,
        lambda f: draw(f, column, past[-72:], future, original(y)),
        (6, 3.2),
        80,
    ):
        print(f"picture: {picture}")


if __name__ == "__main__":
    command_line.run(main)
