"""Links that normalize with a correction towards averages, or that whiten."""

import warnings

import numpy as np

from dyrnn.chainer.backend import copyto
from dyrnn.chainer.configuration import config
from dyrnn.chainer.functions import normalizing, whitening
from dyrnn.chainer.links.normalization_links import BatchNormalization, RunningAverages
from dyrnn.chainer.serializer import Deserializer
from dyrnn.chainer.utils import argument


class BatchRenormalization(BatchNormalization):
    """Batch normalization, corrected towards the averages within bounds."""

    def __init__(
        self,
        size,
        rmax=1,
        dmax=0,
        decay=0.9,
        eps=2e-5,
        dtype=None,
        use_gamma=True,
        use_beta=True,
        initial_gamma=None,
        initial_beta=None,
        initial_avg_mean=None,
        initial_avg_var=None,
    ):
        super().__init__(
            size,
            decay,
            eps,
            dtype,
            use_gamma,
            use_beta,
            initial_gamma,
            initial_beta,
            initial_avg_mean=initial_avg_mean,
            initial_avg_var=initial_avg_var,
        )
        self.rmax = rmax
        self.dmax = dmax

    def forward(self, x, finetune=False):
        """Normalize; ``finetune`` starts the averages anew."""
        if not config.train:
            return super().forward(x)
        like = self.avg_mean
        gamma = self.xp.ones(like.shape, x.dtype) if self.gamma is None else self.gamma
        beta = self.xp.zeros(like.shape, x.dtype) if self.beta is None else self.beta
        averages = (self.avg_mean, self.avg_var)
        if config.in_recomputing:  # with the averages that there were at first
            averages = self._averages_before
        elif config._will_recompute:
            self._averages_before = [v.copy() for v in averages]
        return normalizing.batch_renormalization(
            x,
            gamma,
            beta,
            self.rmax,
            self.dmax,
            self.eps,
            *averages,
            self._next_decay(finetune),
            update_statistics=not config.in_recomputing,
        )


class DecorrelatedBatchNormalization(RunningAverages):
    """Channels of each group made uncorrelated over the batch."""

    def __init__(self, size, groups=16, decay=0.9, eps=2e-5, dtype=np.float32):
        super().__init__()
        n = size // groups
        self.avg_mean = np.zeros((groups, n), dtype)
        self.register_persistent("avg_mean")
        self.avg_projection = np.tile(np.eye(n, dtype=dtype), (groups, 1, 1))
        self.register_persistent("avg_projection")
        self._set_decay(decay)
        self.eps = eps
        self.groups = groups

    def serialize(self, serializer):
        """Save or load; averages without groups, of old files, go to each group."""
        if isinstance(serializer, Deserializer):
            serializer = _WithGroups(serializer, self.groups)
        super().serialize(serializer)

    def forward(self, x, **kwargs):
        """Whiten; ``finetune`` starts the averages anew."""
        (finetune,) = argument.parse_kwargs(kwargs, ("finetune", False))
        if not config.train:
            return whitening.fixed_decorrelated_batch_normalization(
                x, self.avg_mean, self.avg_projection, groups=self.groups
            )
        averages = self.avg_mean, self.avg_projection
        if config.in_recomputing:  # they were updated when it was computed first
            averages = None, None
        return whitening.decorrelated_batch_normalization(
            x,
            groups=self.groups,
            eps=self.eps,
            running_mean=averages[0],
            running_projection=averages[1],
            decay=self._next_decay(finetune),
        )


class _WithGroups(Deserializer):
    """Gives the averages of old files an axis of groups."""

    ndims = {"avg_mean": 2, "avg_projection": 3}

    def __init__(self, deserializer, groups):
        self.deserializer = deserializer
        self.groups = groups

    def __call__(self, key, value):
        if key not in self.ndims:
            return self.deserializer(key, value)
        loaded = self.deserializer(key, None)
        if loaded.ndim == self.ndims[key] - 1:
            if self.groups != 1:
                warnings.warn(
                    "Found moving statistics of old DecorrelatedBatchNormalization, "
                    "whose algorithm was different from the paper.",
                    stacklevel=2,
                )
            loaded = np.tile(loaded, (self.groups,) + (1,) * loaded.ndim)
        elif loaded.ndim != self.ndims[key]:
            raise ValueError(f"unexpected shape of {key}: {loaded.shape}")
        if value is None:
            return loaded
        copyto(value, loaded)
        return value
