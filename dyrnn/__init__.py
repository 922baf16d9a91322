"""Recurrent neural networks, define-by-run, in pure Python on NumPy or CuPy."""

from dyrnn.version import __version__

__all__ = ["__version__"]
