"""Kernels for NumPy arrays of float32 and float64."""
