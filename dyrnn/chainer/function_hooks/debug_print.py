"""Functions' arrays, printed."""

import sys
import warnings

from dyrnn.chainer._backend import get_array_module
from dyrnn.chainer.function_hook import FunctionHook
from dyrnn.chainer.variable import Variable


class PrintHook(FunctionHook):
    """Prints each function's inputs and, backward, the gradients of its outputs."""

    name = "PrintHook"

    def __init__(self, sep=None, end="\n", file=None, flush=True):
        if sep is not None:
            warnings.warn(
                "sep argument in chainer.function_hooks.PrintHook is deprecated.",
                DeprecationWarning,
                stacklevel=1,
            )
        self.sep = sep
        self.end = end
        self.file = sys.stdout if file is None else file
        self.flush = flush

    def _print(self, text):
        self.file.write(text + self.end)

    def _process(self, function, in_data, out_grad=None):
        self._print(f"function\t{function.label}")
        self._print("input data")
        for x in in_data:
            self._print("(removed)" if x is None else Variable(x).debug_print())
        if out_grad is not None:
            self._print("output gradient")
            for gy in out_grad:
                y = Variable()
                if gy is not None:
                    y = Variable(get_array_module(gy).zeros_like(gy))
                    y.grad = gy
                self._print(y.debug_print())
        if self.flush and hasattr(self.file, "flush"):
            self.file.flush()

    def forward_preprocess(self, function, in_data):
        self._process(function, in_data)

    def backward_preprocess(self, function, in_data, out_grad):
        self._process(function, in_data, out_grad)
