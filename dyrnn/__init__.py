"""Recurrent neural networks, define-by-run, in pure Python on NumPy or CuPy."""

__version__ = "0.1.0"
