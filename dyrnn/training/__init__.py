"""Training: the loop, what it does in one iteration, and when extensions run.

Start reading at `trainer`; `updaters` and `bptt` are one iteration, `triggers` says
when, and `extension` what an extension is. Those that come with dyrnn are in
``dyrnn.extensions``.
"""

from dyrnn.training.bptt import BPTTUpdater
from dyrnn.training.extension import (
    PRIORITY_EDITOR,
    PRIORITY_READER,
    PRIORITY_WRITER,
    Extension,
    make_extension,
)
from dyrnn.training.range_test import lr_range_test
from dyrnn.training.signals import TrainingInterrupted
from dyrnn.training.trainer import Trainer
from dyrnn.training.triggers import get_trigger
from dyrnn.training.updaters import StandardUpdater
