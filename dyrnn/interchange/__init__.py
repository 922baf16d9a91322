"""Weights of models into other systems, and out of them.

A model with the same layers takes the weights of one that was trained elsewhere, and
gives its own, with the same outputs to rounding::

    from dyrnn import interchange

    interchange.load("model.safetensors", model)  # or .pt, .keras, .weights.h5, .npz
    interchange.load(module.state_dict(), model, "torch", names={"rnn": "encoder.lstm"})
    interchange.save("model.safetensors", model)
    module.load_state_dict(...)  # of interchange.to_arrays(model, "torch")

``transfer.py`` has these calls. ``layers.py`` has what all systems share, a model as a
list of layers in one layout; ``systems.py`` says how each system's names and layouts
become these, and ``matching.py`` compares a model with what is given.

Whole models, their computation too, go to ONNX files and to source code::

    interchange.to_onnx(model, "model.onnx", ids)  # and from_onnx("model.onnx")
    interchange.numpy_module(model, "predictor.py")  # c_module(model, "predictor.c")

``tracing.py`` records what a model does, ``operations.py`` says what that is in ONNX.
"""

from dyrnn.errors import InterchangeError
from dyrnn.interchange.c_predictor import c_module
from dyrnn.interchange.layers import Layer, assign, describe
from dyrnn.interchange.numpy_predictor import numpy_module
from dyrnn.interchange.onnx_models import OnnxModel, from_onnx
from dyrnn.interchange.optimizer_states import load_optimizer, to_optimizer_state
from dyrnn.interchange.tracing import to_onnx
from dyrnn.interchange.transfer import load, save, to_arrays

__all__ = [
    "InterchangeError",
    "Layer",
    "OnnxModel",
    "assign",
    "c_module",
    "describe",
    "from_onnx",
    "load",
    "load_optimizer",
    "numpy_module",
    "save",
    "to_arrays",
    "to_onnx",
    "to_optimizer_state",
]
