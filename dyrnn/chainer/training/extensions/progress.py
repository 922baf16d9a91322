"""Progress bars on a terminal."""

import collections
import datetime
import sys
import time

from dyrnn.chainer.training.bases import Extension


class Bar:
    """Lines that are written again and again at the same place."""

    def __init__(self, bar_length=None, out=None):
        self._bar_length = 50 if bar_length is None else bar_length
        self._out = sys.stdout if out is None else out
        self._recent_timing = collections.deque(maxlen=100)

    def update_speed(self, iteration, epoch_detail):
        """Return iterations and epochs per second of the last hundred updates."""
        now = time.time()
        self._recent_timing.append((iteration, epoch_detail, now))
        old_iteration, old_epoch, then = self._recent_timing[0]
        if now == then:
            return float("inf"), float("inf")
        seconds = now - then
        speed = (iteration - old_iteration) / seconds
        return speed, (epoch_detail - old_epoch) / seconds

    def get_lines(self):
        """Return the lines to write."""
        raise NotImplementedError

    def _line(self, label, rate):
        marks = "#" * int(rate * self._bar_length)
        return f"{label} [{marks:.<{self._bar_length}}] {rate:6.2%}\n"

    def _estimate(self, rest, speed, iterations_per_second):
        seconds = max(rest / speed, 0.0) if speed else 0.0
        left = datetime.timedelta(seconds=seconds)
        return (
            f"{iterations_per_second:10.5g} iters/sec. Estimated time to finish: "
            f"{left}.\n"
        )

    def update(self):
        """Write the lines."""
        self.erase_console()
        lines = self.get_lines()
        for line in lines:
            self._out.write(line)
        self.move_cursor_up(len(lines))
        self.flush()

    def close(self):
        """Erase the lines."""
        self.erase_console()
        self.flush()

    def erase_console(self):
        """Erase everything below the cursor."""
        self._out.write("\033[J")

    def move_cursor_up(self, n):
        """Move the cursor up by ``n`` lines."""
        self._out.write(f"\033[{n:d}A")

    def flush(self):
        """Flush the file, if it can."""
        if hasattr(self._out, "flush"):
            self._out.flush()


class _TrainerBar(Bar):
    trainer = None
    training_length = None

    def get_lines(self):
        updater = self.trainer.updater
        iteration, epoch = updater.iteration, updater.epoch_detail
        if self.training_length is None:
            self.training_length = self.trainer.stop_trigger.get_training_length()
        length, unit = self.training_length
        done = iteration if unit == "iteration" else epoch
        speeds = self.update_speed(iteration, epoch)
        speed = speeds[0] if unit == "iteration" else speeds[1]
        return [
            self._line("     total", min(done / length, 1.0)),
            self._line("this epoch", epoch - int(epoch)),
            f"{iteration:10} iter, {updater.epoch} epoch / {length} {unit}s\n",
            self._estimate(length - done, speed, speeds[0]),
        ]


class ProgressBar(Extension):
    """Shows how far training is.

    Parameters
    ----------
    training_length : tuple, optional
        ``(10, "epoch")`` and the like; by default what the stop trigger says.
    update_interval : int
        Iterations between two updates.
    bar_length : int
        Characters.
    out : file
    """

    def __init__(
        self, training_length=None, update_interval=100, bar_length=50, out=sys.stdout
    ):
        self._update_interval = update_interval
        self._pbar = _TrainerBar(bar_length, out)
        self._pbar.training_length = training_length

    def __call__(self, trainer):
        self._pbar.trainer = trainer
        if trainer.updater.iteration % self._update_interval == 0:
            self._pbar.update()

    def finalize(self):
        self._pbar.close()


class IteratorProgressBar(Bar):
    """Shows how far an iterator is."""

    def __init__(self, iterator, bar_length=None, out=None):
        if not hasattr(iterator, "current_position") or not hasattr(
            iterator, "epoch_detail"
        ):
            raise TypeError(
                "Iterator must have the following attributes to enable a progress bar: "
                "current_position, epoch_detail"
            )
        self._iterator = iterator
        super().__init__(bar_length, out)

    def get_lines(self):
        position, rate = self._iterator.current_position, self._iterator.epoch_detail
        size = getattr(self._iterator, "_epoch_size", None)
        speeds = self.update_speed(position, rate)
        return [
            self._line("validation", rate),
            f"{position:10} / {size} iterations\n"
            if size
            else f"{position:10} iterations\n",
            self._estimate(1.0 - rate, speeds[1], speeds[0]),
        ]
