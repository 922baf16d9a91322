"""Extensions of the trainer: evaluation, logs, snapshots, plots, schedules."""

from dyrnn.extensions.evaluation import Evaluator
from dyrnn.extensions.insights import (
    GateSaturation,
    GradientNorms,
    gate_saturation,
    plot_lr_range,
)
from dyrnn.extensions.logs import LogReport, PrintReport, perplexity, read_log
from dyrnn.extensions.observations import (
    FailOnNonNumber,
    MicroAverage,
    ParameterStatistics,
    observe_lr,
    observe_value,
)
from dyrnn.extensions.plots import PlotReport, save_figure
from dyrnn.extensions.progress import ProgressBar, WordsPerSecond
from dyrnn.extensions.schedules import (
    CosineShift,
    ExponentialShift,
    InverseShift,
    LinearShift,
    MultistepShift,
    OneCycleShift,
    PolynomialShift,
    ReduceOnPlateau,
    StepShift,
    WarmupShift,
)
from dyrnn.extensions.snapshots import Snapshot, snapshot, snapshot_object
from dyrnn.extensions.trackers import CsvReport, TensorBoardReport, Tracker
from dyrnn.extensions.weights import BestWeights, WeightAverage
