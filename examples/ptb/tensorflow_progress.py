"""The lines of ``--progress tensorflow``, as TensorFlow's tutorial prints them."""

from dyrnn import extensions
from dyrnn.iterators import WindowIterator
from dyrnn.training import Extension


def exp(loss):
    """Return a perplexity, infinite where it is too large for a float."""
    row = {"main/loss": loss}
    extensions.perplexity(row)
    return row["perplexity"]


class TensorflowProgress(Extension):
    """Prints an epoch's learning rate, its progress ten times, and its perplexities.

    As in the tutorial, the lines of progress come at step 10 of each tenth; perplexity
    and speed are means over the epoch until then.
    """

    trigger = (1, "iteration")

    def __init__(self):
        self.steps = self.words = 0
        self.losses = self.seconds = 0.0

    def __call__(self, trainer):
        updater = trainer.updater
        iterator, step = updater.get_iterator(), self.steps
        # The other iterator counts time steps.
        is_window = isinstance(iterator, WindowIterator)
        windows = len(iterator) // (1 if is_window else updater.bprop_len)
        epoch = updater.epoch + (not updater.is_new_epoch)
        if step == 0:
            lr = updater.get_optimizer().lr
            print(f"Epoch: {epoch} Learning rate: {lr:.3f}", flush=True)
        seen = trainer.observation
        self.steps += 1
        self.losses += float(seen["main/loss"])
        self.words += int(seen.weights["main/loss"])
        self.seconds += updater.update_time
        perplexity = exp(self.losses / self.steps)
        tenth = max(1, windows // 10)
        if step % tenth == 10 % tenth:
            print(
                f"{step / windows:.3f} perplexity: {perplexity:.3f} "
                f"speed: {self.words / self.seconds:.0f} wps",
                flush=True,
            )
        if updater.is_new_epoch:
            valid = exp(float(seen["validation/main/loss"]))
            print(f"Epoch: {epoch} Train Perplexity: {perplexity:.3f}")
            print(f"Epoch: {epoch} Valid Perplexity: {valid:.3f}", flush=True)
            self.__init__()

    def serialize(self, s):
        """Save or load the sums over the epoch until now."""
        self.steps, self.words = s("steps", self.steps), s("words", self.words)
        self.losses = s("losses", self.losses)
        self.seconds = s("seconds", self.seconds)
