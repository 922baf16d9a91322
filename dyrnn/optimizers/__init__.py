"""Update rules, what they share, and hooks that act before an update.

``rules.py`` has the formulas, ``optimizer.py`` the walk over the parameters,
``hooks.py`` clipping, decay and noise, and ``norms.py`` the check that no gradient
which is NaN or infinite reaches a parameter.
"""

from dyrnn.optimizers.hooks import clip_by_global_norm as clip_by_global_norm
from dyrnn.optimizers.optimizer import Optimizer as Optimizer
from dyrnn.optimizers.refused import restoring as restoring
from dyrnn.optimizers.rules import ASGD as ASGD
from dyrnn.optimizers.rules import SGD as SGD
from dyrnn.optimizers.rules import SMORMS3 as SMORMS3
from dyrnn.optimizers.rules import AdaDelta as AdaDelta
from dyrnn.optimizers.rules import AdaGrad as AdaGrad
from dyrnn.optimizers.rules import Adam as Adam
from dyrnn.optimizers.rules import AdamW as AdamW
from dyrnn.optimizers.rules import MomentumSGD as MomentumSGD
from dyrnn.optimizers.rules import NesterovAG as NesterovAG
from dyrnn.optimizers.rules import RMSprop as RMSprop
from dyrnn.optimizers.rules import RMSpropGraves as RMSpropGraves
from dyrnn.optimizers.rules import RMSpropNesterov as RMSpropNesterov
from dyrnn.optimizers.rules import Rprop as Rprop
