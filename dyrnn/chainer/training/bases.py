"""Base classes of extensions and updaters."""

PRIORITY_WRITER = 300
PRIORITY_EDITOR = 200
PRIORITY_READER = 100


class Extension:
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

    trigger = (1, "iteration")
    priority = PRIORITY_READER
    name = None
    invoke_before_training = False

    @property
    def default_name(self):
        """Name, where the trainer is given no other."""
        return type(self).__name__

    def __call__(self, trainer):
        raise NotImplementedError("Extension implementation must override __call__.")

    def __getattr__(self, name):
        raise AttributeError(f"{type(self).__name__} object has no attribute {name}")

    def finalize(self):
        """Clean up; called once training is over, or has failed."""

    def initialize(self, trainer):
        """Prepare; called once before training, also where it goes on."""

    def on_error(self, trainer, exc, tb):
        """Act on an error of the training loop."""

    def serialize(self, serializer):
        """Save or load the state."""


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
