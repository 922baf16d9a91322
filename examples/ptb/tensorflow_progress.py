"""The lines of ``--progress tensorflow``, as TensorFlow's tutorial prints them."""

import numpy as np


def tensorflow_progress(trainer):
    """Print the newest row of the log as TensorFlow's tutorial does.

    Perplexity and speed are means over the epoch until now.
    """
    log = trainer.get_extension("LogReport").log
    windows = len(trainer.updater.get_iterator())
    epoch = (log[-1]["iteration"] - 1) // windows
    rows = [row for row in log if row["iteration"] > epoch * windows]
    steps = np.diff([epoch * windows, *(row["iteration"] for row in rows)])
    loss = np.average([row["main/loss"] for row in rows], weights=steps)
    speed = steps.sum() / sum(steps / [row["words_per_second"] for row in rows])
    if len(rows) == 1:
        print(f"Epoch: {epoch + 1} Learning rate: {log[-1]['lr']:.3f}")
    print(
        f"{steps.sum() / windows:.3f} perplexity: {np.exp(loss):.3f} "
        f"speed: {speed:.0f} wps",
        flush=True,
    )
    if steps.sum() == windows:
        print(f"Epoch: {epoch + 1} Train Perplexity: {np.exp(loss):.3f}")
        print(f"Epoch: {epoch + 1} Valid Perplexity: {log[-1]['val_perplexity']:.3f}")
