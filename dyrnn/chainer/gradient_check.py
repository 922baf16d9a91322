"""Numerical gradients, and checks against them."""
