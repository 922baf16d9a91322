"""``chainer.serializer``: what saves and loads the state of objects."""


class AbstractSerializer:
    """``s[key]`` is a child's serializer, ``s(key, value)`` saves or loads a value."""

    def __getitem__(self, key):
        raise NotImplementedError

    def __call__(self, key, value):
        raise NotImplementedError


class Serializer(AbstractSerializer):
    """Base class of what saves."""

    def save(self, obj):
        """Save an object by its ``serialize``."""
        obj.serialize(self)


class Deserializer(AbstractSerializer):
    """Base class of what loads."""

    def load(self, obj):
        """Load an object by its ``serialize``."""
        obj.serialize(self)
