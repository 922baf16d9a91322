"""For slow networks: only the largest values of a gradient are sent at once.

What a process does not send, it keeps, and adds to its gradient of the next update, so
that nothing is lost but time (error feedback). Which values those are, each process
decides alone; what all of them sent is added up by rank, the same everywhere.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np

from dyrnn.distributed.communicator import Communicator

_SMALL = 1 << 14  # bytes: smaller gradients are sent whole


class Largest:
    """Adds up the largest values of gradients over all processes.

    Parameters
    ----------
    share : float
        Of the values of each gradient, how many are sent, above 0 and below 1; a value
        is sent with its place, which needs as many bytes as two or three values.

    Attributes
    ----------
    unsent : dict
        By parameter, what this process has not sent yet, a flat array.
    """

    def __init__(self, share: float) -> None:
        if not (isinstance(share, float) and 0 < share < 1):
            raise ValueError(
                f"largest={share!r} is the share of the values of a gradient that are "
                "sent at once, a float above 0 and below 1, such as 0.01"
            )
        self.share = share
        self.unsent: dict[Any, np.ndarray] = {}

    def takes(self, param: Any) -> bool:
        """Whether a gradient of this size is sent in part."""
        if param.xp is not np or param.dtype not in (np.float32, np.float64):
            raise ValueError(
                f"largest={self.share} is for parameters of float32 or float64 on the "
                f"CPU, but {param.name} is {param.dtype} on {param.device}: leave "
                "`largest` out"
            )
        return param.array.nbytes >= _SMALL

    def add_up(
        self, param: Any, gradient: np.ndarray, communicator: Communicator, where: str
    ) -> None:
        """Make a gradient the sum of what all processes send of it, in place."""
        flat = gradient.reshape(-1)
        if param in self.unsent:
            flat += self.unsent[param]
        count = math.ceil(self.share * flat.size)
        places = np.argpartition(np.abs(flat), -count)[-count:]  # NaN is the largest
        values = flat[places]
        self.unsent[param] = flat.copy()
        self.unsent[param][places] = 0
        counts = np.full(communicator.size, count)
        places, sent = communicator.gather_rows(places, values[:, None], counts, where)
        if not np.isfinite(sent).all():
            self.unsent[param][...] = 0  # of an update that is refused everywhere
        flat[...] = 0
        bounds = [0, *counts.cumsum()]
        for start, stop in itertools.pairwise(bounds):  # places are unique in each
            flat[places[start:stop]] += sent[start:stop, 0]
