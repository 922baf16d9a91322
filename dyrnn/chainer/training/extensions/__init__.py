"""Chainer's names ``chainer.training.extensions``."""

from functools import partial

from dyrnn.chainer.aliases import folder_or_raise
from dyrnn.chainer.training.extensions.evaluating import Evaluator
from dyrnn.chainer.training.extensions.graphs import DumpGraph
from dyrnn.chainer.training.extensions.logs import LogReport, PrintReport
from dyrnn.chainer.training.extensions.observing import (
    FailOnNonNumber,
    MicroAverage,
    ParameterStatistics,
    observe_lr,
    observe_value,
)
from dyrnn.chainer.training.extensions.plots import PlotReport
from dyrnn.chainer.training.extensions.progress import ProgressBar
from dyrnn.chainer.training.extensions.shifts import (
    ExponentialShift,
    InverseShift,
    LinearShift,
    MultistepShift,
    PolynomialShift,
    StepShift,
    WarmupShift,
)
from dyrnn.chainer.training.extensions.snapshots import snapshot, snapshot_object

dump_graph = DumpGraph

__getattr__ = partial(folder_or_raise, __name__)
