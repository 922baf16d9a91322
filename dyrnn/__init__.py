"""Recurrent networks, define-by-run, on NumPy and CuPy.

A model is a class, its graph is what its code does, and a trainer runs it::

    import numpy as np
    import dyrnn
    import dyrnn.functions as F
    import dyrnn.links as L
    from dyrnn import optimizers


    class Counter(dyrnn.Chain):
        def __init__(self):
            super().__init__()
            with self.init_scope():
                self.rnn = L.LSTM(1, 16)
                self.out = L.Linear(16, 1)

        def forward(self, x):  # (T, B, 1), a window of T steps
            return self.out(self.rnn(x))


    model = Counter()
    optimizer = optimizers.Adam().setup(model)
    x = np.random.default_rng(0).integers(0, 2, (10, 20, 1)).astype(np.float32)
    for _ in range(100):
        model.reset_state()
        loss = F.mean_squared_error(model(x), x.cumsum(axis=0))
        model.cleargrads()
        loss.backward()
        optimizer.update()

To read the library, begin with ``engine/core.py`` (variables, operations, the graph),
then ``backprop.py`` and ``gradients.py`` there; one function
(``functions/activation.py``); one link (``links/connection.py``); ``link.py``;
``optimizers/rules.py``; and last the training loop, ``training/trainer.py``,
``training/updaters.py`` and ``bptt.py`` there.

Packages that train and read data, such as ``training``, ``extensions``, ``iterators``,
``datasets`` and ``serializers``, are imported when they are first used.
"""

import importlib

from dyrnn import functions, initializers, links, optimizers, random
from dyrnn.backend import get_array_module, get_device, is_available, to_cpu, to_device
from dyrnn.config import config, inference_mode, no_backprop_mode, using_config
from dyrnn.engine.core import FunctionNode, Variable, as_variable
from dyrnn.engine.higher_order import grad
from dyrnn.engine.hooks import FunctionHook
from dyrnn.engine.parameter import Parameter
from dyrnn.errors import DeviceError, NonFiniteError, ShapeError, SnapshotError
from dyrnn.link import Chain, ChainList, Link, Sequential
from dyrnn.optimizers import hooks as optimizer_hooks
from dyrnn.prediction import Predictor
from dyrnn.reporter import (
    DictSummary,
    Reporter,
    Summary,
    get_current_reporter,
    report,
    report_scope,
)
from dyrnn.version import __version__

__all__ = [
    "Chain",
    "ChainList",
    "DeviceError",
    "DictSummary",
    "FunctionHook",
    "FunctionNode",
    "Link",
    "NonFiniteError",
    "Parameter",
    "Predictor",
    "Reporter",
    "Sequential",
    "ShapeError",
    "SnapshotError",
    "Summary",
    "Variable",
    "__version__",
    "as_variable",
    "config",
    "functions",
    "get_array_module",
    "get_current_reporter",
    "get_device",
    "grad",
    "inference_mode",
    "initializers",
    "is_available",
    "links",
    "metrics",
    "no_backprop_mode",
    "optimizer_hooks",
    "optimizers",
    "random",
    "report",
    "report_scope",
    "to_cpu",
    "to_device",
    "using_config",
]

_LATER = {
    "datasets",
    "distributed",
    "extensions",
    "interchange",
    "iterators",
    "metrics",
    "sampling",
    "serializers",
    "testing",
    "training",
}


def __getattr__(name):
    if name in _LATER:
        return importlib.import_module(f"dyrnn.{name}")
    raise AttributeError(f"module 'dyrnn' has no attribute {name!r}")


def __dir__():
    return sorted({*globals(), *_LATER})
