"""Kernels for CuPy arrays, and their text in CUDA."""
