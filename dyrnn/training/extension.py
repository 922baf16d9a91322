"""What a trainer calls beside the update: any callable that takes the trainer.

`Extension` is the base of those that have more to say: when they run, in which order,
what they do before and after training, and what of them a snapshot must hold.
"""

from __future__ import annotations

from collections.abc import Callable

from dyrnn.description import Shown
from dyrnn.typing import TriggerLike

# Extensions of one iteration run from the highest priority to the lowest.
PRIORITY_WRITER = 300  # adds values to the observation
PRIORITY_EDITOR = 200  # changes values of the observation
PRIORITY_READER = 100  # only reads it


class Extension(Shown):
    """Base class of trainer extensions.

    Attributes
    ----------
    trigger : callable or (int, str)
        When it runs, unless ``trainer.extend`` says otherwise.
    priority : int
        Its place among the extensions of an iteration; higher runs first.
    default_name : str
        Its name in the trainer, where none is given.
    """

    trigger = (1, "iteration")
    priority = PRIORITY_READER

    @property
    def default_name(self):
        """The class's name."""
        return type(self).__name__

    def __call__(self, trainer):
        """Do the work; called when the trigger fires."""
        raise NotImplementedError(
            f"{type(self).__name__}: an extension must define __call__(self, trainer)"
        )

    def set_interval(self, trigger):
        """Take a trigger given to ``extend`` as the end of intervals: return whether.

        For those that must look at every iteration, to take means over an interval. By
        default it says when the extension runs.
        """
        return False

    def initialize(self, trainer):
        """Prepare, after a snapshot was loaded and before the first update."""

    def finalize(self):
        """Clean up at the end of training, however it ended."""

    def on_error(self, trainer, error, traceback):
        """Learn of the exception that ends training, before ``finalize``.

        Of a signal during ``finalize``, all learn after it.
        """

    def serialize(self, s):
        """Save or load what must survive a resume."""


def make_extension(
    trigger: TriggerLike = (1, "iteration"),
    default_name: str | None = None,
    priority: int = PRIORITY_READER,
    finalize: Callable | None = None,
    initialize: Callable | None = None,
    on_error: Callable | None = None,
) -> Callable:
    """Decorate a function of the trainer with an extension's attributes.

    Examples
    --------
    >>> @make_extension(trigger=(1, "epoch"))
    ... def greet(trainer):
    ...     print("epoch", trainer.updater.epoch)
    >>> greet.trigger
    (1, 'epoch')
    """

    def decorate(function):
        function.trigger = trigger
        function.default_name = default_name or function.__name__
        function.priority = priority
        hooks = {"finalize": finalize, "initialize": initialize, "on_error": on_error}
        for name, hook in hooks.items():
            if hook is not None:
                setattr(function, name, hook)
        return function

    return decorate
