"""``chainer.optimizer``: update rules, their hyperparameters and hooks, optimizers.

An optimizer gives each parameter of its target an :class:`UpdateRule`, whose
hyperparameters fall back to the optimizer's. The gradients of version 1
(``zero_grads``, ``clip_grads``, ``weight_decay``) are methods, too.
"""

import copy
import math
import warnings

import numpy as np

from dyrnn.chainer import backend, optimizer_hooks, variable
from dyrnn.chainer._backend import array_types
from dyrnn.chainer.link import Link
from dyrnn.chainer.optimizer_hooks.clipping import squared_norm
from dyrnn.chainer.serializer import Deserializer


class _Hookable:
    """Hooks by name, called before ("pre") or after ("post") an update."""

    def __init__(self, invalid_timing_fallback=False):
        self._hooks = {"pre": {}, "post": {}}
        self._invalid_timing_fallback = invalid_timing_fallback

    def add_hook(self, hook, name, timing):
        """Add a callable under its name."""
        if not callable(hook):
            raise TypeError("hook function must be callable")
        if timing not in ("pre", "post", "auto"):
            raise ValueError("timing must be one of ('pre', 'post', 'auto')")
        if timing == "auto":
            timing = getattr(hook, "timing", "pre")
            if timing not in ("pre", "post") and self._invalid_timing_fallback:
                warnings.warn(
                    "Hook timing attribute not in ('pre', 'post'), defaulting timing "
                    "to 'pre'.",
                    stacklevel=3,
                )
                timing = "pre"
        if name is None:
            name = getattr(hook, "name", getattr(hook, "__name__", None))
        if name is None:
            raise ValueError("the name of the hook function is not specified")
        if any(name in hooks for hooks in self._hooks.values()):
            raise KeyError(f'hook "{name}" already exists')
        self._hooks["pre" if timing == "pre" else "post"][name] = hook

    def remove_hook(self, name):
        """Remove the hook of the name."""
        hooks = (
            self._hooks["pre"] if name in self._hooks["pre"] else self._hooks["post"]
        )
        del hooks[name]

    def call_hooks(self, timing, args):
        """Call all hooks of a timing in the order they were added."""
        if timing not in self._hooks:
            raise ValueError("timing must be either 'pre' or 'post'")
        for hook in self._hooks[timing].values():
            self.call_hook(hook, args)

    def call_hook(self, hook, args):
        """Call one hook."""
        hook(*args)


class Hyperparameter:
    """Attributes that fall back to those of ``parent``."""

    def __init__(self, parent=None):
        self._parent = parent

    def __getattr__(self, name):
        if "_parent" not in self.__dict__:
            raise AttributeError("_parent is not set up yet")
        return getattr(self._parent, name)

    def __repr__(self):
        values = sorted(self.get_dict().items())
        return f"Hyperparameter({', '.join(f'{k}={v}' for k, v in values)})"

    @property
    def parent(self):
        """Where the attributes come from that this one does not set."""
        return self._parent

    def get_dict(self):
        """Return all attributes, the parent's included."""
        values = {} if self._parent is None else self._parent.get_dict()
        own = {key: value for key, value in vars(self).items() if key != "_parent"}
        return {**values, **own}


class UpdateRule:
    """How one parameter follows its gradient: override ``update_core``.

    Attributes
    ----------
    enabled : bool
        Whether :meth:`update` does anything.
    hyperparam : Hyperparameter
    t : int
        Number of updates done.
    state : dict or None
        Arrays of :meth:`init_state`; None before the first update.
    """

    is_elementwise = False

    def __init__(self, parent_hyperparam=None):
        self._state = None
        self.enabled = True
        self.hyperparam = Hyperparameter(parent_hyperparam)
        self.t = 0
        self._use_fp32_update = False
        self._fp32_param = None
        self._hookable = _Hookable()

    @property
    def state(self):
        return self._state

    def add_hook(self, hook, name=None, timing="auto"):
        """Call ``hook(rule, param)`` before or after each update."""
        self._hookable.add_hook(hook, name, timing)

    def remove_hook(self, name):
        """Remove a hook by its name."""
        self._hookable.remove_hook(name)

    def update(self, param):
        """Update a parameter, with the hooks around it."""
        if not self.enabled:
            return
        self.t += 1
        with backend.using_device(param.device):
            self._update(param)

    def _update(self, param):
        try:
            dtype = param.dtype
        except RuntimeError:  # not initialized, and of no type yet
            dtype = None
        is_initialized = param.array is not None
        is_converted = self._use_fp32_update and dtype == np.float16
        target = self._in_fp32(param, is_initialized) if is_converted else param
        if is_initialized:
            self._init_states(target)
            if param._loss_scale is not None:
                target.grad /= param._loss_scale
        self._hookable.call_hooks("pre", (self, target))
        self.update_core(target)
        self._hookable.call_hooks("post", (self, target))
        if is_converted:
            if is_initialized:
                param.array = target.array.astype(param.dtype)
            target.grad = None

    def _in_fp32(self, param, is_initialized):
        if self._fp32_param is None:
            if is_initialized:
                first = param.array.astype(np.float32)
            else:
                first = _Unused()
            self._fp32_param = variable.Parameter(first, name=param.name)
        if is_initialized:
            self._fp32_param.grad = param.grad.astype(np.float32)
        return self._fp32_param

    def update_core(self, param):
        """Update the parameter; calls the method for its device."""
        with backend.using_device(param.device):
            if param.device.xp is np:
                self.update_core_cpu(param)
            else:
                self.update_core_gpu(param)

    def update_core_cpu(self, param):
        """Update a parameter that is in main memory."""
        raise NotImplementedError

    def update_core_gpu(self, param):
        """Update a parameter that is on a GPU."""
        raise NotImplementedError

    def update_core_chainerx(self, param):
        """Say that ChainerX is not there; a rule may define it nevertheless."""
        raise RuntimeError("ChainerX is not available.")

    def init_state(self, param):
        """Fill ``self.state`` for a parameter; called before its first update."""

    def serialize(self, serializer):
        self.t = serializer("t", self.t)
        if self.state is not None:
            for key, value in self._state.items():
                self._state[key] = serializer(key, value)
        elif isinstance(serializer, Deserializer):
            self._load_state(serializer)

    def _load_state(self, serializer):
        """Load arrays of unknown shapes, under the keys that init_state makes."""
        self._state = {}
        array = np.empty(1, np.float32)
        copy.copy(self).init_state(variable.Variable(array, grad=array))
        for key in self._state:
            try:
                value = serializer(key, None)
            except KeyError:
                if self.enabled and self.t:
                    raise
                value = None  # version 1 saves optimizers before their first update
            if value is None:
                self._state = None
                break
            self._state[key] = value

    def _init_states(self, param):
        if self._state is None:
            self._state = {}
            self.init_state(param)
        for name, value in self._state.items():
            if isinstance(value, array_types()):
                self._state[name] = param.device.send(value)

    def use_fp32_update(self, flag=True):
        """Update a float16 parameter by way of a float32 copy."""
        self._use_fp32_update = flag


class _Unused:
    """The initializer of a float32 copy that only waits for its values."""

    dtype = np.float32

    def __call__(self, array):
        raise AssertionError("a copy takes its values from the parameter")


class _OptimizerHookable(_Hookable):
    def __init__(self, optimizer):
        super().__init__(invalid_timing_fallback=True)
        self.optimizer = optimizer

    def call_hook(self, hook, args):
        self.optimizer.call_hook(hook)


class Optimizer:
    """Base class of all optimizers.

    Attributes
    ----------
    target : Link
        What :meth:`setup` was given.
    t, epoch : int
        Numbers of updates and of epochs done.
    """

    target = None
    t = 0
    epoch = 0
    use_auto_new_epoch = False
    _loss_scale = None
    _loss_scale_max = 65504  # float16's largest number
    _loss_scaling_is_dynamic = False
    _loss_scaling_isnan = False
    _hookable = None

    def setup(self, link):
        """Take a link's parameters as what to update."""
        if not isinstance(link, Link):
            raise TypeError("optimization target must be a link")
        self.target = link
        self.t = 0
        self.epoch = 0
        self._hookable = _OptimizerHookable(self)
        return self

    def update(self, lossfun=None, *args, **kwds):
        """Update the parameters."""
        raise NotImplementedError

    def new_epoch(self, auto=False):
        """Count an epoch; ``auto`` is for updaters."""
        if auto and not self.use_auto_new_epoch:
            raise RuntimeError(
                "invalid new_epoch call with auto=True.\n"
                "Fix the updater to set optimizer.use_auto_new_epoch = True."
            )
        if not auto and self.use_auto_new_epoch:
            raise RuntimeError(
                "duplicated new_epoch with the updater.\nPass auto_new_epoch=False to "
                "the updater or stop calling new_epoch outside the updater."
            )
        self.epoch += 1

    def _check_set_up(self):
        if self._hookable is None:
            raise RuntimeError("Optimizer is not set up. Call `setup` method.")

    def add_hook(self, hook, name=None, timing="auto"):
        """Call a hook before or after each update.

        It is given the optimizer, or, if it says ``call_for_each_param``, each
        parameter's rule and the parameter.
        """
        self._check_set_up()
        self._hookable.add_hook(hook, name, timing)

    def remove_hook(self, name):
        """Remove a hook by its name."""
        self._check_set_up()
        self._hookable.remove_hook(name)

    def call_hooks(self, timing="pre"):
        """Call all hooks of a timing."""
        self._check_set_up()
        self._hookable.call_hooks(timing, ())

    def call_hook(self, hook):
        """Call one hook."""
        if getattr(hook, "call_for_each_param", False):
            for param in self.target.params():
                hook(param.update_rule, param)
        else:
            hook(self)

    def serialize(self, serializer):
        self.t = serializer("t", self.t)
        self.epoch = serializer("epoch", self.epoch)
        for name, param in self.target.namedparams():
            rule = getattr(param, "update_rule", None)
            if rule is not None:
                rule.serialize(serializer[name])

    def loss_scaling(self, interval=1000, scale=None):
        """Scale losses by ``scale``, or by as much as gradients stay finite."""
        if scale is not None:
            if scale <= 0:
                raise ValueError(
                    f"loss_scale must be a positive number. Actual: {scale}"
                )
            self._loss_scale = scale
            return
        self._loss_scaling_is_dynamic = True
        if interval < 1:
            raise ValueError(
                f"interval must be greater than or equal to 1. Actual: {interval}"
            )
        self._loss_scale = 1.0
        self._loss_scaling_multiplier = math.pow(2.0, 1.0 / interval)
        self._loss_scaling_isnan_ever = False

    def set_loss_scale(self, loss_scale):
        """Scale losses by a fixed factor."""
        self.loss_scaling(scale=loss_scale)

    def check_nan_in_grads(self):
        """With a dynamic loss scale, note whether a gradient is not finite."""
        self._loss_scaling_isnan = False
        if not self._loss_scaling_is_dynamic:
            return
        for name, param in self.target.namedparams():
            xp = param.device.xp
            if not xp.all(xp.isfinite(param.grad)):
                self._loss_scaling_isnan = True
                self._loss_scaling_isnan_ever = True
                warnings.warn(
                    f"Non finite number found in param.grad of {name} (iteration: "
                    f"{self.t}, loss_scale: {self._loss_scale})",
                    stacklevel=2,
                )

    def is_safe_to_update(self):
        """Return whether the last gradients were finite, as far as looked at."""
        return not self._loss_scaling_isnan

    def update_loss_scale(self):
        """Adapt a dynamic loss scale after an update."""
        if not self._loss_scaling_is_dynamic:
            return
        if self._loss_scaling_isnan:
            multiplier = 0.5
        elif self._loss_scaling_isnan_ever:
            multiplier = self._loss_scaling_multiplier
        else:
            multiplier = 2.0
        scale = self._loss_scale * multiplier
        self._loss_scale = max(1, min(self._loss_scale_max, scale))

    # Version 1 let scripts do by hand what hooks do.

    def zero_grads(self):
        """Fill all gradients with zeros; ``target.cleargrads()`` does it today."""
        self.target.cleargrads()
        for param in self.target.params(include_uninit=False):
            with backend.using_device(param.device):
                param.grad = param.device.xp.zeros_like(param.array)

    zero_grad = zero_grads

    def compute_grads_norm(self):
        """Return the Euclidean norm of all gradients together."""
        return math.sqrt(float(squared_norm(self.target.params(False))))

    def clip_grads(self, maxnorm):
        """Scale all gradients so that their norm is ``maxnorm`` at most."""
        optimizer_hooks.GradientClipping(maxnorm)(self)

    def weight_decay(self, decay):
        """Add ``decay`` times the parameters to their gradients."""
        self.call_hook(optimizer_hooks.WeightDecay(decay))

    def accumulate_grads(self, grads):
        """Add an array to each gradient, in the order of ``target.params()``."""
        for param, gradient in zip(self.target.params(), grads, strict=True):
            param.grad = param.grad + param.device.send(gradient)


class GradientMethod(Optimizer):
    """Base class of optimizers by the gradient alone: say ``create_update_rule``."""

    def __init__(self):
        super().__init__()
        self.hyperparam = Hyperparameter()
        self._use_fp32_update = False

    def setup(self, link):
        super().setup(link)
        for param in link.params():
            param.update_rule = self.create_update_rule()
            if self._use_fp32_update:
                param.update_rule.use_fp32_update()
        return self

    def reallocate_cleared_grads(self):
        """Give zeros to parameters without a gradient; done around each hook."""
        for _, param in self.target.namedparams(False):
            if param.grad is None:
                with backend.using_device(param.device):
                    param.grad = param.device.xp.zeros_like(param.array)

    def call_hook(self, hook):
        super().call_hook(hook)
        self.reallocate_cleared_grads()

    def update(self, lossfun=None, *args, **kwds):
        """Update by the gradient of ``lossfun(*args, **kwds)``, or by those there."""
        if lossfun is not None:
            loss = lossfun(*args, **kwds)
            if getattr(self, "_use_cleargrads", True):
                self.target.cleargrads()
            else:
                self.target.zerograds()
            loss.backward(loss_scale=self._loss_scale)
            del loss
        self.reallocate_cleared_grads()
        self.check_nan_in_grads()
        self.call_hooks("pre")
        self.t += 1
        if self.is_safe_to_update():
            for param in self.target.params():
                param.update()
        self.reallocate_cleared_grads()
        self.call_hooks("post")
        self.update_loss_scale()

    def use_cleargrads(self, use=True):
        """Choose whether :meth:`update` clears gradients or fills in zeros."""
        warnings.warn(
            "GradientMethod.use_cleargrads is deprecated.",
            DeprecationWarning,
            stacklevel=1,
        )
        self._use_cleargrads = use

    def create_update_rule(self):
        """Return a new update rule for one parameter."""
        raise NotImplementedError

    def use_fp32_update(self, flag=True):
        """Update float16 parameters by way of float32 copies."""
        self._use_fp32_update = flag
        if self.target is not None:
            for param in self.target.params():
                param.update_rule.use_fp32_update()


class HyperparameterProxy:
    """An attribute of an optimizer that is one of its hyperparameters."""

    def __init__(self, attr_name):
        self._attr_name = attr_name
        self.__doc__ = f"Alias to ``self.hyperparam.{attr_name}``"

    def __get__(self, obj, type=None):
        return self if obj is None else getattr(obj.hyperparam, self._attr_name)

    def __set__(self, obj, value):
        setattr(obj.hyperparam, self._attr_name, value)


def _moved(hook):
    """Return the hook's old name in this module, which says where it is now."""

    def __init__(self, *args, **kwargs):
        warnings.warn(
            f"chainer.optimizer.{hook.__name__} is deprecated from v4. Use "
            f"chainer.optimizer_hooks.{hook.__name__} instead.",
            DeprecationWarning,
            stacklevel=1,
        )
        hook.__init__(self, *args, **kwargs)

    attributes = {"__init__": __init__, "__module__": __name__, "__doc__": hook.__doc__}
    return type(hook.__name__, (hook,), attributes)


WeightDecay = _moved(optimizer_hooks.WeightDecay)
Lasso = _moved(optimizer_hooks.Lasso)
GradientClipping = _moved(optimizer_hooks.GradientClipping)
GradientNoise = _moved(optimizer_hooks.GradientNoise)
GradientHardClipping = _moved(optimizer_hooks.GradientHardClipping)
