"""What ``import chainerx`` gives: a module that says ChainerX is not available."""

_MESSAGE = "ChainerX is not part of dyrnn; use NumPy or CuPy arrays instead."


class ndarray:
    """Type of ChainerX's arrays; none exists."""

    def __init__(self, *args, **kwargs):
        raise RuntimeError(_MESSAGE)


class Device:
    """Type of ChainerX's devices; none exists."""

    def __init__(self, *args, **kwargs):
        raise RuntimeError(_MESSAGE)


class _FallbackType:
    """Type of :data:`Fallback`."""

    def __repr__(self):
        return "Fallback"


# What a node's forward_chainerx returns to be computed by forward instead.
Fallback = _FallbackType()


def is_available():
    """Return False."""
    return False


def __getattr__(name):
    if name.startswith("__"):
        raise AttributeError(name)
    raise AttributeError(f"chainerx.{name}: {_MESSAGE}")
