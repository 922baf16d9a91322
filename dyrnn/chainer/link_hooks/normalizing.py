"""Hooks that let a link compute with a normalized form of its weight.

The link keeps its parameter: only during ``forward`` another variable, computed from
it, is in its place, so that gradients arrive at the parameter through the
normalization.
"""

from dyrnn.chainer import backend, functions
from dyrnn.chainer.configuration import config
from dyrnn.chainer.link_hook import LinkHook
from dyrnn.chainer.links.convolution_links import Deconvolution2D, DeconvolutionND
from dyrnn.chainer.utils.misc import force_array
from dyrnn.chainer.variable import Parameter


class _WeightHook(LinkHook):
    """Puts ``normalize_weight(link)`` in the place of the weight."""

    def __init__(self, weight_name, name):
        self.weight_name = weight_name
        self._initialized = False
        if name is not None:
            self.name = name

    def __enter__(self):
        raise NotImplementedError(
            "This hook is not supposed to be used as context manager."
        )

    def __exit__(self, *_):
        raise NotImplementedError

    def _weight(self, link):
        return getattr(link, self.weight_name)

    def added(self, link):
        if not hasattr(link, self.weight_name):
            raise ValueError(f"Weight '{self.weight_name}' does not exist!")
        if self._weight(link).array is not None:
            self._prepare_parameters(link)

    def forward_preprocess(self, args):
        link = args.link
        if not self._initialized:
            if self._weight(link).array is None:
                link._initialize_params(args.args[0].shape[1])
            self._prepare_parameters(link)
        self.original_weight = self._weight(link)
        setattr(link, self.weight_name, self.normalize_weight(link))

    def forward_postprocess(self, args):
        setattr(args.link, self.weight_name, self.original_weight)

    def _prepare_parameters(self, link):
        """Make what the hook needs, once the link has its weight."""
        self._initialized = True

    def normalize_weight(self, link):
        """Return the weight that the link shall compute with."""
        raise NotImplementedError


class SpectralNormalization(_WeightHook):
    """Divides the weight by its largest singular value, which is estimated.

    Parameters
    ----------
    n_power_iteration : int
        Steps of the estimate at each call; it goes on from that of the call before,
        which the link keeps as the persistent value ``<weight_name>_u``.
    eps : float
        Added to norms.
    use_gamma : bool
        Whether the link gets a parameter ``gamma`` to scale the weight.
    factor : float, optional
        Largest singular value of the normalized weight; by default 1.
    weight_name : str
    name : str, optional

    References
    ----------
    Miyato et al., "Spectral Normalization for Generative Adversarial Networks",
    ICLR 2018.
    """

    name = "SpectralNormalization"

    def __init__(
        self,
        n_power_iteration=1,
        eps=1e-6,
        use_gamma=False,
        factor=None,
        weight_name="W",
        name=None,
    ):
        assert n_power_iteration > 0
        super().__init__(weight_name, name)
        self.n_power_iteration = n_power_iteration
        self.eps = eps
        self.use_gamma = use_gamma
        self.factor = factor
        self.vector_name = f"{weight_name}_u"
        self.axis = 0

    def added(self, link):
        if isinstance(link, (Deconvolution2D, DeconvolutionND)):
            self.axis = 1  # their weights have the inputs first
        super().added(link)

    def deleted(self, link):
        delattr(link, self.vector_name)
        if self.use_gamma:
            del link.gamma

    def _prepare_parameters(self, link):
        W = self._weight(link).array
        size = W.shape[self.axis]
        if size == 0:
            raise ValueError(f"Expect {self.weight_name}.shape[{self.axis}] > 0")
        u = link.xp.random.normal(size=(size,)).astype(W.dtype)
        setattr(link, self.vector_name, u)
        link.register_persistent(self.vector_name)
        if self.use_gamma:
            sigmas = link.xp.linalg.svd(self.reshape_W(W), compute_uv=False)
            with link.init_scope():
                link.gamma = Parameter(force_array(sigmas[0]))
        self._initialized = True

    def normalize_weight(self, link):
        W = self._weight(link)
        matrix = self.reshape_W(W)
        u = getattr(link, self.vector_name)
        if config.in_recomputing:
            v = self.v
        else:
            with backend.using_device(link.device):
                u, v = self._iterate(matrix.array, u)
            self.v = v
            if config.train:
                backend.copyto(getattr(link, self.vector_name), u)
        sigma = functions.matmul(functions.matmul(u, matrix), v)
        if self.factor is not None:
            sigma /= self.factor
        if self.use_gamma:
            W = link.gamma * W
        return W / sigma

    def _iterate(self, matrix, u):
        """Return better estimates of the first singular vectors, left and right."""
        for _ in range(self.n_power_iteration):
            v = self._unit(u @ matrix)
            u = self._unit(matrix @ v)
        return u, v

    def _unit(self, vector):
        return vector / ((vector * vector).sum() ** 0.5 + self.eps)

    def reshape_W(self, W):
        """Return the weight as a matrix with a row for each output."""
        if self.axis != 0:
            others = [i for i in range(W.ndim) if i != self.axis]
            W = W.transpose([self.axis, *others])
        return W if W.ndim == 2 else W.reshape(W.shape[0], -1)


class WeightStandardization(_WeightHook):
    """Gives each output's part of the weight mean 0 and variance 1.

    Parameters
    ----------
    eps : float
        Added to variances.
    weight_name : str
    name : str, optional

    References
    ----------
    Qiao et al., "Weight Standardization", arXiv:1903.10520, 2019.
    """

    name = "WeightStandardization"

    def __init__(self, *, eps=1e-5, weight_name="W", name=None):
        super().__init__(weight_name, name)
        self.eps = eps

    def normalize_weight(self, link):
        W = self._weight(link)
        rows = W.reshape(W.shape[0], -1)
        ones = link.xp.ones(rows.shape[1:], dtype=W.dtype)
        rows = functions.layer_normalization(rows, ones, 0 * ones, eps=self.eps)
        return rows.reshape(W.shape)
