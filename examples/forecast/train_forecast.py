"""Forecast a column of a CSV file: the next day of hours from the week before.

The file has a column of times at equal steps, hours or ten minutes, days or weeks, some
of which may be missing, and columns of numbers with gaps. Without --data one is made:
two years of an electric load, with the temperature and the wind, and holes as loggers
leave them.
"""

import argparse
import csv
import json
import tempfile
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import numpy as np

import dyrnn
import dyrnn.functions as F
import dyrnn.links as L
from dyrnn import command_line, extensions, optimizers, serializers, training
from dyrnn.datasets import SeriesWindows
from dyrnn.iterators import SerialIterator
from series_csv import read_csv


class Forecaster(dyrnn.Chain):
    """An encoder reads the window, a decoder the calendar of the steps to come.

    It adds to what was a season before, which is ``season`` steps.
    """

    def __init__(self, n_series, n_calendar, n_targets, units, season=24):
        super().__init__()
        self.season = season
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
        times = len(x) - self.season + np.arange(len(calendar)) % self.season
        before = x[times][..., : self.out.out_size]
        h = self.decoder(F.concat([calendar, before], axis=-1))
        return before + self.out(h)

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


class Rhythm(NamedTuple):
    """What repeats itself in a series, and how far to look back and ahead, in steps."""

    seasons: list  # the shortest first
    steps: int
    horizon: int


def rhythm(step):
    """Return the rhythm of a series with so much time between two values."""

    def season(**span):
        n = timedelta(**span) / step
        return round(n) if n >= 2 and abs(n - round(n)) < 1e-6 else 0

    day, week, year = season(days=1), season(weeks=1), round(season(weeks=52))
    if 0 < day <= 300:
        return Rhythm([day, week], week if week <= 336 else 2 * day, day)
    if day:  # seconds or minutes: too many for an LSTM to read a day of them
        short = season(hours=1) if season(hours=1) <= 300 else season(minutes=1)
        return Rhythm([short or 1], 4 * (short or 60), short or 60)
    if week:
        return Rhythm([week], 8 * week, week)
    if year:
        return Rhythm([year], year, max(1, year // 13))
    return Rhythm([1], 32, 8)


def parts(n, steps):
    """Return the slices to train on, to validate with, and to test with.

    What is before a part may be read, so the first window of the others reaches back.
    """
    a, b = int(0.7 * n), int(0.85 * n)
    return slice(0, a), slice(max(0, a - steps), b), slice(max(0, b - steps), n)


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
    model = Forecaster(len(found["columns"]), 6, 1, found["units"], found["season"])
    serializers.load_npz(path, model)
    return model, found


def errors(model, data, seasons):
    """Return the mean absolute error of the model, and of the values a season before.

    In standard deviations, over the targets that are there.
    """
    sums, count = np.zeros(1 + len(seasons)), 0.0
    size = min(256, len(data))
    for batch in SerialIterator(data, size, repeat=False, shuffle=False):
        x, known, t, weights = dyrnn.datasets.concat_examples(batch)
        with dyrnn.using_config("train", False), dyrnn.no_backprop_mode():
            y = model.predict(x, known).array
        guesses = [y]
        for period in seasons:
            times = len(x) - period + np.arange(len(t)) % period
            guesses.append(x[times][..., :1])
        sums += [(abs(guess - t) * weights).sum() for guess in guesses]
        count += weights.sum()
    return sums / count


def draw(figure, names, past, future, predicted):
    axes = figure.add_subplot(xlabel="steps", ylabel=names)
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
    add("--steps", type=number(int, 1), help="to read (default: by the time of one)")
    add("--horizon", type=number(int, 1), help="steps to forecast (the same)")
    add("--unit", "-u", type=number(int, 1), default=64, help="LSTM units")
    add("--batchsize", "-b", type=number(int, 1), default=64, help="windows at once")
    add("--stride", type=number(int, 1), help="steps between windows (some 2,400)")
    add("--lr", type=number(float, 0), default=0.003, help="of Adam")
    add("--epoch", "-e", type=number(int, 1), default=20, help="the most epochs")
    add("--patience", type=number(int, 1), default=4, help="epochs without a new best")
    command_line.add_common_options(parser, "result/forecast")
    args = parser.parse_args()
    if args.test:
        args.unit, args.epoch, args.stride = 4, 2, args.stride or 97

    dyrnn.random.seed(args.seed)
    out = Path(args.out)
    if args.data is None and args.dry_run:  # nothing is written into out
        with tempfile.TemporaryDirectory() as folder:
            args.data = Path(folder, "load.csv")
            make_csv(args.data)
            found = read_csv(args.data)
    else:
        if args.data is None:
            args.data = out / "load.csv"
            if not args.replay:
                out.mkdir(parents=True, exist_ok=True)
                make_csv(args.data)
        found = read_csv(args.data)
    start, step, names, series = found
    usual = rhythm(step)
    args.horizon = args.horizon or usual.horizon
    args.steps = args.steps or usual.steps
    seasons = [n for n in usual.seasons if n <= args.steps] or [1]
    column = args.column or names[0]
    if column not in names:
        raise ValueError(f"--column {column}: the file has {', '.join(names)}")
    order = [
        names.index(column),
        *(i for i, name in enumerate(names) if name != column),
    ]
    series, names = series[:, order], [names[i] for i in order]  # the target first
    known = calendar(start, step, 0, len(series))
    slices = parts(len(series), args.steps)
    length = slices[0].stop
    args.stride = args.stride or max(1, length // 2400)
    shortest = int(0.15 * len(series))
    if args.steps + args.horizon > length or args.horizon > shortest:
        raise ValueError(
            f"{args.data} has {len(series)} steps of {step}, {length} of which are "
            f"trained on and {shortest} tested with: too few to read {args.steps} and "
            f"forecast {args.horizon}. Give --steps and --horizon, or more data"
        )

    empty = np.isnan(series[:length]).all(axis=0)
    if empty.any():
        raise ValueError(
            f"{args.data}: column {names[empty.argmax()]!r} is empty in the part "
            "that is trained on; leave it out"
        )
    model = Forecaster(len(names), known.shape[1], 1, args.unit, seasons[0])
    model.scaler.fit(series[:length])
    train, valid, test = (
        windows(series[part], known[part], model, [0], args, stride)
        for part, stride in zip(slices, (args.stride, args.stride, 1), strict=True)
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
    ours, *naive = scale * errors(model, test, seasons)
    print(
        f"mean absolute error over {args.horizon} steps of {step}, {column}, in the "
        "test part:"
    )
    others = [f"as {n} before {e:.3f}" for n, e in zip(seasons, naive, strict=True)]
    print(", ".join([f"model {ours:.3f}", *others]))
    path = out / "model.npz"
    description = {"columns": names, "units": args.unit, "horizon": args.horizon}
    description["season"] = seasons[0]
    description |= {"steps": args.steps, "step": step.total_seconds()}
    description["test_error"] = float(ours)
    save(path, model, description)
    print(f"model saved: {path}")
    (out / "errors.json").write_text(
        json.dumps({"model": ours, **dict(zip(map(str, seasons), naive, strict=True))})
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
        lambda f: draw(f, column, past[-3 * args.horizon :], future, original(y)),
        (6, 3.2),
        80,
    ):
        print(f"picture: {picture}")


if __name__ == "__main__":
    command_line.run(main)
