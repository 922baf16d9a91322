"""Any past iteration again: a run repeats bit by bit, so it can be looked at later.

`rerun` starts from the newest snapshot before the iteration, trains up to it as the run
did, and tells by the log whether it is the same run; `protection` sees to it that the
run's directory stays as it is. `watching` is what can be seen of an iteration, `report`
shows it. ``trainer.replay`` is the way in.
"""

from dyrnn.training.replaying.rerun import Replay, replay, worst_interval
from dyrnn.training.replaying.watching import Figures
