"""Weights of models into other systems, and out of them.

A model with the same layers takes the weights of one that was trained elsewhere, and
gives its own, with the same outputs to rounding.

``layers.py`` has what all systems share, a model as a list of layers in one layout;
each system has a file that says how its own names and layouts become these.
"""

from dyrnn.errors import InterchangeError
from dyrnn.interchange.layers import Layer, assign, describe
from dyrnn.interchange.onnx_models import OnnxModel, from_onnx
from dyrnn.interchange.tracing import to_onnx

__all__ = [
    "InterchangeError",
    "Layer",
    "OnnxModel",
    "assign",
    "describe",
    "from_onnx",
    "to_onnx",
]
