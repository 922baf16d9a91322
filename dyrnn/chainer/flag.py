"""``chainer.flag``: ON, OFF and AUTO, which say of version 1's variables: volatile?"""

import enum


class Flag(enum.Enum):
    """On, off or automatic; ``Flag("on")``, ``Flag(True)`` and ``flag.ON`` are one."""

    ON = True
    OFF = False
    AUTO = None

    @classmethod
    def _missing_(cls, value):
        return cls.__members__.get(str(value).upper())

    def __bool__(self):
        if self.value is None:
            raise ValueError("Flag AUTO cannot be converted to boolean")
        return self.value

    def __eq__(self, other):
        try:
            return self is Flag(other)
        except ValueError:
            return False

    __hash__ = enum.Enum.__hash__

    def __repr__(self):
        return self.name

    __str__ = __repr__


ON, OFF, AUTO = Flag
