"""Base classes of extensions and updaters."""

from dyrnn.training import extension as core

PRIORITY_WRITER = core.PRIORITY_WRITER
PRIORITY_EDITOR = core.PRIORITY_EDITOR
PRIORITY_READER = core.PRIORITY_READER


class Extension(core.Extension):
    """Base class of extensions: ``extension(trainer)`` is called when it is due.

    Attributes
    ----------
    trigger : tuple or callable
        When; ``(1, "epoch")`` and the like, or a function of the trainer.
    priority : int
        The higher, the earlier among those due.
    name : str or None
        As the trainer knows it; None before.
    invoke_before_training : bool
        Version 1: whether it is called before training, too, also where it goes on.
    """

    name = None
    invoke_before_training = False

    def __getattr__(self, name):
        raise AttributeError(f"{type(self).__name__} object has no attribute {name}")


def make_extension(
    trigger=None,
    default_name=None,
    priority=None,
    finalizer=None,
    initializer=None,
    on_error=None,
    *,
    invoke_before_training=False,
):
    """Return a decorator that makes a function of the trainer an extension."""

    def decorator(extension):
        extension.trigger = Extension.trigger if trigger is None else trigger
        extension.default_name = default_name or extension.__name__
        extension.priority = Extension.priority if priority is None else priority
        extension.finalize = finalizer
        extension.on_error = on_error
        extension.initialize = initializer
        extension.invoke_before_training = invoke_before_training
        return extension

    return decorator


class Updater:
    """Base class of updaters: one step of training is ``update()``."""

    def connect_trainer(self, trainer):
        """Meet the trainer that will call."""

    def finalize(self):
        """Clean up; called once training is over."""
        raise NotImplementedError

    def get_optimizer(self, name):
        """Return an optimizer by its name."""
        raise NotImplementedError

    def get_all_optimizers(self):
        """Return all optimizers, a dictionary by name."""
        raise NotImplementedError

    def update(self):
        """Do one step."""
        raise NotImplementedError

    def serialize(self, serializer):
        """Save or load the state."""
        raise NotImplementedError
