"""The version of Chainer whose names these are: scripts compare it."""

__version__ = "7.8.1"
_optional_dependencies: list[dict] = []
