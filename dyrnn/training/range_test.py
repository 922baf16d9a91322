"""Looking for a learning rate: a few updates with rates that grow, then undone."""

from __future__ import annotations

import math
import os
import tempfile
from typing import Any

from dyrnn import backend, random
from dyrnn.errors import NonFiniteError
from dyrnn.serializers import load_npz, save_npz
from dyrnn.training.updaters import StandardUpdater


class _State:
    """All that an update changes, as a snapshot has it."""

    def __init__(self, updater):
        self.updater = updater

    def serialize(self, s):
        self.updater.serialize(s["updater"])
        random.serialize(s["random"])


def lr_range_test(
    updater: StandardUpdater,
    lowest: float = 1e-6,
    highest: float = 1.0,
    updates: int = 100,
    attr: str = "lr",
) -> list[tuple[float, float]]:
    """Return learning rates and the losses of updates with them; then undo these.

    The rates grow by the same factor from update to update. The test ends when a loss
    is four times the least one, or not finite. A good rate is some way below the one
    from which losses rise. Model, optimizer, iterator and random numbers are as before
    afterwards.

    Parameters
    ----------
    updater : StandardUpdater or the like
        After at least one update, if the model finds its sizes at the first one.
    lowest, highest : float
    updates : int, at least 2
    attr : str
        The hyperparameter of the main optimizer.

    Returns
    -------
    list of (float, float)
        The rate and the loss of each update, as a mean.

    References
    ----------
    Smith, "Cyclical Learning Rates for Training Neural Networks", WACV 2017.
    """
    optimizer: Any = updater.get_optimizer()
    if attr not in optimizer.ranges:
        raise AttributeError(
            f"lr_range_test: {type(optimizer).__name__} has no {attr!r}; it has: "
            f"{', '.join(optimizer.ranges)}"
        )
    if not 0 < lowest < highest or updates < 2:
        raise ValueError(
            f"lr_range_test: lowest={lowest}, highest={highest} and updates={updates}; "
            "0 < lowest < highest, and 2 updates at least"
        )
    if any(not p.is_initialized for p in optimizer.target.params()):
        raise ValueError(
            "lr_range_test: the model does not know all its sizes yet; call "
            "updater.update() once before, or give the sizes"
        )
    found: list[tuple[float, float]] = []
    state = _State(updater)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "before.npz")
        save_npz(path, state)
        try:
            for i in range(updates):
                rate = lowest * (highest / lowest) ** (i / (updates - 1))
                setattr(optimizer, attr, rate)
                try:
                    updater.update()
                except NonFiniteError:
                    break
                loss = float(backend.to_cpu(updater.mean_loss))
                found.append((rate, loss))
                if not math.isfinite(loss) or loss > 4 * min(y for _, y in found):
                    break
        finally:
            load_npz(path, state)
    return found
