"""Methods that subclasses shall not override."""

import warnings


def final(*args, action=TypeError):
    """Mark a method: overriding it raises, or warns with, ``action``."""

    def mark(method):
        method._override_action = action
        return method

    return mark(*args) if args else mark


class _EnableFinal(type):
    def __new__(cls, name, bases, attributes):
        for key in attributes:
            for base in bases:
                action = getattr(getattr(base, key, None), "_override_action", None)
                if action is None:
                    continue
                if issubclass(action, Warning):
                    warnings.warn(f"Overriding method {key!r}.", action, stacklevel=1)
                else:
                    raise action(f"method {key!r} is final.")
        return super().__new__(cls, name, bases, attributes)


def enable_final(base=(), meta_base=()):
    """Return a base class whose subclasses heed :func:`final`."""
    bases = tuple(base) if isinstance(base, (list, tuple)) else (base,)
    metas = tuple(meta_base) if isinstance(meta_base, (list, tuple)) else (meta_base,)
    meta = type("base_metaclass", (_EnableFinal, *metas), {})
    return meta("temporary_class", bases, {})
