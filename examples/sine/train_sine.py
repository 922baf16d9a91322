"""Learn a sine wave with an LSTM, then let it run freely from a short primer.

``--variant offsets``: the wave is read at several random places side by side, the state
carried from window to window, until new places are drawn. ``--variant cuts``:
mini-batches of windows cut at random, each from a fresh state.
"""

import argparse
from pathlib import Path

import numpy as np

import dyrnn
import dyrnn.functions as F
import dyrnn.links as L
from dyrnn import command_line, extensions, optimizers, random, serializers, training
from dyrnn.datasets import Dataset, concat_examples
from dyrnn.iterators import ParallelSequentialIterator, SerialIterator

CYCLES = 50
PRESET = (
    "Linear, LSTM of so many units, Linear, and other defaults than those named here"
)
PRESETS = {"noise": 0.0, "lr": 0.03, "cycle": 50, "length": 75, "reread": True}
REREAD = (
    "predict each value from a fresh state after the last ones, as many as --primer"
)
VARIANT = "carry the state, or cut windows; see above"


def sine(length, cycle):
    """Return so many values of a sine wave, with a period of ``cycle`` steps."""
    return np.sin(2 * np.pi * np.arange(length) / cycle).astype(np.float32)


class SineRNN(dyrnn.Chain):
    """From the value now (B, 1), or a window (T, B, 1), to the next one.

    In training it sees noise of standard deviation ``noise`` on its input, and so
    learns to come back to the wave: it must when it runs on its own predictions.
    """

    def __init__(self, units, noise, enters_linearly=False):
        super().__init__()
        self.noise = noise
        self.enter = None
        with self.init_scope():
            if enters_linearly:
                self.enter = L.Linear(1, units)
            self.rnn = L.LSTM(units if enters_linearly else 1, units)
            self.out = L.Linear(units, 1)

    def forward(self, x):
        if dyrnn.config.train and self.noise > 0:
            noise = random.stream("noise").generator.normal(0, self.noise, x.shape)
            x = x + self.device.send(noise.astype(x.dtype))
        return self.out(self.rnn(x if self.enter is None else self.enter(x)))


class RandomOffsetIterator(ParallelSequentialIterator):
    """Reads a sequence at random places; each epoch draws new ones."""

    def reset(self):
        super().reset()
        self._draw()

    def _draw(self):
        generator = random.stream("offsets").generator
        self.offsets = generator.integers(len(self.dataset), size=self.batch_size)

    def next_window(self, steps):
        if self.is_new_epoch:
            self._draw()
        return super().next_window(steps)

    def serialize(self, s):
        super().serialize(s)
        self.offsets = s("offsets", self.offsets)


class OffsetUpdater(training.BPTTUpdater):
    """Carries the state on, unless the iterator is about to go elsewhere."""

    def update_core(self):
        if self.get_iterator().is_new_epoch:
            self.get_optimizer().target.reset_state()
        super().update_core()


class RandomCuts(Dataset):
    """Windows ``(x, t)`` of a sequence, at all places that it has."""

    def __init__(self, sequence, steps):
        self.sequence = sequence
        self.steps = steps

    def __len__(self):
        return len(self.sequence) - self.steps

    def get_example(self, i):
        window = self.sequence[i : i + self.steps + 1]
        return window[:-1], window[1:]


class CutUpdater(training.StandardUpdater):
    """Starts each mini-batch (B, T, 1) from a fresh state, time first."""

    def update_core(self):
        self.get_optimizer().target.reset_state()
        super().update_core()


def time_major(batch, device):
    """Make arrays (T, B, 1) of a list of windows."""
    x, t = concat_examples(batch)
    return device.send(x.swapaxes(0, 1)), device.send(t.swapaxes(0, 1))


def make_updater(variant, wave, optimizer, args, device):
    """Return the iterator and updater of a variant."""
    if variant == "offsets":
        iterator = RandomOffsetIterator(wave, args.batchsize)
        return OffsetUpdater(iterator, optimizer, args.steps, device)
    iterator = SerialIterator(RandomCuts(wave, args.steps), args.batchsize)
    return CutUpdater(iterator, optimizer, time_major, device)


def predict(model, primer, steps):
    """Feed the primer (T,), then each prediction back; return ``steps`` of them."""
    model.reset_state()
    values = []
    with dyrnn.using_config("train", False), dyrnn.no_backprop_mode():
        y = model(model.device.send(primer[:, None, None]))[-1]
        for _ in range(steps):
            values.append(y.item())
            y = model(y)
    return np.array(values)


def reread(model, primer, steps):
    """Predict from the last values, as many as in the primer, from a fresh state each.

    The network, which has learnt from short windows, then never runs for longer.
    """
    values = list(primer)
    with dyrnn.using_config("train", False), dyrnn.no_backprop_mode():
        for _ in range(steps):
            model.reset_state()
            last = np.array(values[-len(primer) :], np.float32)
            values.append(model(model.device.send(last[:, None, None]))[-1].item())
    return np.array(values[len(primer) :])


def draw(figure, time, wave, primer, predicted):
    """Draw the wave, and the prediction after the primer."""
    axes = figure.add_subplot(xlabel="step")
    axes.plot(time, wave, color="0.7", lw=4, label="sine wave")
    axes.plot(time[:primer], wave[:primer], color="tab:green", label="primer")
    axes.plot(time[primer:], predicted, color="tab:red", label="free-running")
    axes.legend(loc="lower left")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=command_line.HelpFormatter
    )
    number = command_line.number
    add = parser.add_argument
    add("--variant", choices=("offsets", "cuts"), default="cuts", help=VARIANT)
    add("--preset", type=int, choices=(5, 2), help=PRESET)
    add("--cycle", type=number(int, 1), default=100, help="steps of the wave's period")
    add("--reread", action="store_true", help=REREAD)
    add("--unit", "-u", type=number(int, 1), default=32, help="LSTM units")
    add("--batchsize", "-b", type=number(int, 1), default=20, help="windows at once")
    add("--steps", type=number(int, 1), default=100, help="steps of a window")
    add("--lr", type=number(float, 0), default=0.01, help="falls to a hundredth of it")
    add("--noise", type=number(float, 0), default=0.1, help="deviation, in training")
    add("--iteration", "-i", type=number(int, 1), default=2000, help="updates")
    add("--primer", type=number(int, 1), default=25, help="steps before running freely")
    add("--length", "-n", type=number(int, 1), default=200, help="steps to predict")
    command_line.add_common_options(parser, "result/sine")
    args = parser.parse_args()
    if args.preset is not None:
        parser.set_defaults(**PRESETS)
        args = parser.parse_args()
    if args.test:
        args.iteration = 20

    dyrnn.random.seed(args.seed)
    device = dyrnn.get_device(args.device)
    device.use()
    if args.variant == "cuts" and args.steps >= CYCLES * args.cycle:
        parser.error(
            f"argument --steps: a window of {args.steps} and the value after it do not "
            f"fit into a wave of {CYCLES * args.cycle} values, {CYCLES} times --cycle"
        )
    wave = sine(CYCLES * args.cycle, args.cycle)
    rnn = SineRNN(args.preset or args.unit, args.noise, args.preset is not None)
    model = L.Classifier(rnn, F.mean_squared_error, accfun=None)
    optimizer = optimizers.Adam(args.lr).setup(model)
    optimizer.add_hook(dyrnn.optimizer_hooks.GradientClipping(1.0))
    updater = make_updater(args.variant, wave[:, None], optimizer, args, device)

    trainer = training.Trainer(updater, (args.iteration, "iteration"), args.out)
    every = (max(1, args.iteration // 10), "iteration")
    decay = extensions.ExponentialShift("lr", 0.01 ** (1 / args.iteration))
    trainer.extend(decay, trigger=(1, "iteration"))
    trainer.extend(extensions.LogReport(trigger=every))
    trainer.extend(extensions.PrintReport(["iteration", "main/loss", "elapsed_time"]))
    trainer.extend(extensions.ProgressBar())
    settings = "variant", "cycle", "steps", "lr", "noise", "iteration"
    command_line.extend_with_snapshots(trainer, args, every, settings=settings)
    trainer.run()

    time = np.arange(args.primer + args.length)
    truth = sine(len(time), args.cycle)
    go_on = reread if args.reread else predict
    predicted = go_on(rnn, truth[: args.primer], args.length)
    error = np.sqrt(np.mean((predicted - truth[args.primer :]) ** 2))
    print(f"free-running RMSE over {args.length} steps: {error:.4f}")
    path = Path(args.out) / "model.npz"
    serializers.save_npz(path, rnn)
    print(f"model saved: {path}")
    picture = Path(args.out) / "prediction.png"
    if extensions.save_figure(
        picture, lambda f: draw(f, time, truth, args.primer, predicted), (6, 3.2), 80
    ):
        print(f"picture: {picture}")


if __name__ == "__main__":
    command_line.run(main)
