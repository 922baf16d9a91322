"""Progress bars of training and of iterators."""

import sys

from dyrnn.chainer.training.bases import Extension
from dyrnn.chainer.training.extensions import util
from dyrnn.extensions import progress


class _TrainerBar(util.ProgressBar):
    updater = None
    training_length = None

    def get_lines(self):
        updater = self.updater
        iteration, epoch = updater.iteration, updater.epoch_detail
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


class ProgressBar(progress.ProgressBar, Extension):
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
        super().__init__(training_length, update_interval, out)
        self._bar = _TrainerBar(bar_length, out)

    initialize = Extension.initialize

    def _draw(self, trainer):
        self._bar.updater = trainer.updater
        self._bar.training_length = self._training_length(trainer)
        self._bar.update()

    def finalize(self):
        self._bar.close()
