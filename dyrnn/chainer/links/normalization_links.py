"""Links that normalize."""

import numpy as np

from dyrnn.chainer import initializers
from dyrnn.chainer.configuration import config, get_dtype
from dyrnn.chainer.functions import normalizing
from dyrnn.chainer.link import Link
from dyrnn.chainer.utils import argument
from dyrnn.chainer.utils.array import size_of_shape
from dyrnn.chainer.variable import Parameter, as_variable


def _lazy_parameter(given, default, dtype=None):
    """Return a parameter without a shape, in float32 where the rest is mixed16."""
    initializer = initializers._get_initializer(given, default=default)
    initializer.dtype = get_dtype(dtype, map_mixed16=np.float32)
    return Parameter(initializer)


class LayerNormalization(Link):
    """Rows normalized, scaled and shifted."""

    def __init__(self, size=None, eps=1e-6, initial_gamma=None, initial_beta=None):
        super().__init__()
        get = initializers._get_initializer
        with self.init_scope():
            self.gamma = Parameter(get(initial_gamma, default=1))
            self.beta = Parameter(get(initial_beta, default=0))
            self.eps = eps
        if size is not None:
            self._initialize_params(size)

    def _initialize_params(self, size):
        self.gamma.initialize(size)
        self.beta.initialize(size)

    def forward(self, x):
        """Normalize."""
        if self.gamma.array is None:
            self._initialize_params(size_of_shape(x.shape[1:]))
        return normalizing.layer_normalization(x, self.gamma, self.beta, self.eps)


class BatchNormalization(Link):
    """Columns normalized over the batch; averages are used outside of training."""

    gamma = None
    beta = None

    def __init__(
        self,
        size=None,
        decay=0.9,
        eps=2e-5,
        dtype=None,
        use_gamma=True,
        use_beta=True,
        initial_gamma=None,
        initial_beta=None,
        axis=None,
        initial_avg_mean=None,
        initial_avg_var=None,
    ):
        super().__init__()
        if size is None and axis is None:
            raise RuntimeError("size or axis is required")
        self._initial_averages = (initial_avg_mean, initial_avg_var)
        self.N = 0
        self.register_persistent("N")
        self.decay = decay
        self.eps = eps
        self.axis = (axis,) if isinstance(axis, int) else axis
        self._dtype = get_dtype(dtype, map_mixed16=np.float32)
        with self.init_scope():
            if use_gamma:
                self.gamma = _lazy_parameter(initial_gamma, 1, dtype)
            if use_beta:
                self.beta = _lazy_parameter(initial_beta, 0, dtype)
        self.avg_mean = self.avg_var = None
        if size is not None:
            self._initialize_params(size)
        self.register_persistent("avg_mean")
        self.register_persistent("avg_var")

    def _initialize_params(self, shape):
        averages = []
        for given, default in zip(self._initial_averages, (0, 1), strict=True):
            init = initializers._get_initializer(given, default=default)
            array = initializers.generate_array(init, shape, self.xp, self._dtype)
            averages.append(array)
        self.avg_mean, self.avg_var = averages
        for parameter in (self.gamma, self.beta):
            if parameter is not None:
                parameter.initialize(shape)

    @property
    def printable_specs(self):
        yield "size", None if self.avg_mean is None else self.avg_mean.shape[0]
        yield "decay", self.decay
        yield "eps", self.eps
        yield "dtype", self._dtype
        yield "use_gamma", self.gamma is not None
        yield "use_beta", self.beta is not None

    def forward(self, x, test=None, **kwargs):
        """Normalize; ``finetune`` starts the averages anew.

        ``test`` is version 1's way to say that this is, or is not, training.
        """
        (finetune,) = argument.parse_kwargs(kwargs, ("finetune", False))
        is_training = config.train if test is None else not test
        if self.avg_mean is None:
            shape = [n for i, n in enumerate(x.shape) if i not in self.axis]
            self._initialize_params(tuple(shape))
        like = self.avg_mean
        gamma = self.xp.ones_like(like) if self.gamma is None else self.gamma
        beta = self.xp.zeros_like(like) if self.beta is None else self.beta
        if not is_training:
            return normalizing.fixed_batch_normalization(
                x, gamma, beta, self.avg_mean, self.avg_var, self.eps, self.axis
            )
        decay = self.decay
        if finetune:  # the decay of a plain mean
            self.N += 1
            decay = 1.0 - 1.0 / self.N
        return normalizing.batch_normalization(
            as_variable(x),
            gamma,
            beta,
            eps=self.eps,
            running_mean=self.avg_mean,
            running_var=self.avg_var,
            decay=decay,
            axis=self.axis,
        )

    def start_finetuning(self):
        """Start the averages anew."""
        self.N = 0
