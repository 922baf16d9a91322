"""Times of functions."""

from dyrnn.chainer._backend import get_array_module
from dyrnn.chainer._timing import Timer
from dyrnn.chainer.function_hook import FunctionHook


class TimerHook(Timer, FunctionHook):
    """Measures the time of each function, forward and backward."""

    name = "TimerHook"
    heading = "FunctionName"

    def forward_preprocess(self, function, in_data):
        self._start(get_array_module(*in_data))

    def forward_postprocess(self, function, in_data):
        self._stop(get_array_module(*in_data), function._impl_name)

    def backward_preprocess(self, function, in_data, out_grad):
        self._start(get_array_module(*in_data, *out_grad))

    def backward_postprocess(self, function, in_data, out_grad):
        self._stop(get_array_module(*in_data, *out_grad), function._impl_name)
