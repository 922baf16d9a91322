"""What a forward pass changes in a model, put back if its update is refused."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager

from dyrnn import backend
from dyrnn.errors import NonFiniteError
from dyrnn.link import Link


@contextmanager
def restoring(*models: Link) -> Iterator[None]:
    """Put back, if a `NonFiniteError` leaves the ``with`` block, what links keep.

    That is the state they carry over time, and their persistent values, such as the
    running statistics of a batch normalization, all as at the start of the block.
    """
    carried, persistent = [], []
    for link in dict.fromkeys(link for model in models for link in model.links()):
        for name in link.carried:
            carried.append((link, name, getattr(link, name)))
        for name in link._persistent:
            value = getattr(link, name)
            persistent.append((link, name, value, copy.copy(value)))
    try:
        yield
    except NonFiniteError:
        for link, name, value in carried:
            setattr(link, name, value)
        for link, name, value, kept in persistent:
            if backend.is_array(value):
                value[...] = kept
                kept = value
            setattr(link, name, kept)
        raise
