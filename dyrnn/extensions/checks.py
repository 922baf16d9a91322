"""What extensions that write what was observed check: their file, and the names.

A file that two of them write holds neither's values, and a misspelt name is one that is
never observed. Nobody knows the names before training, so that is said at its end.
"""

from __future__ import annotations

import warnings

__all__ = ["check_file_is_own", "names_of_values", "warn_of_unseen"]


def names_of_values(names, parameter):
    """A list of the names of values; a single one is refused, as it has letters."""
    if isinstance(names, str):
        raise TypeError(
            f"{parameter} is {names!r}: give a list of names, such as [{names!r}]"
        )
    return list(names)


def check_file_is_own(extension, trainer):
    """Refuse a ``filename`` that another extension of the trainer has, too."""
    owners = [
        name
        for name, other in trainer.extensions.items()
        if getattr(other, "filename", None) == extension.filename
    ]
    if len(owners) > 1:
        raise ValueError(
            f"{' and '.join(owners)} of this trainer write the same file, "
            f"{extension.filename!r}: give each a filename of its own"
        )


def warn_of_unseen(extension, names, seen):
    """Name what was waited for in vain, at the end of a training."""
    unseen = ", ".join(name for name in names if name not in seen)
    if unseen:
        known = ", ".join(sorted(seen)) or "none"
        warnings.warn(
            f"{type(extension).__name__}: never observed: {unseen}; observed were: "
            f"{known}. Correct the name, or report the value before training ends.",
            stacklevel=3,
        )
