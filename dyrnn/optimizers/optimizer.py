"""What all optimizers share: hooks, the walk over parameters, sparse rows, saving.

An optimizer is ``init_state(param)``, the arrays it keeps for a parameter, and
``update_param(param, state)``. Most define a ``rule(p, g, state, t)`` instead,
elementwise and in place: the base class hands it a cache-sized block of rows at a time,
with a factor from gradient clipping applied on the way. Hyperparameters are plain
attributes: a schedule assigns ``optimizer.lr``. On a GPU, where each operation costs a
launch, rules that :func:`dyrnn.kernels.update` knows are applied to all parameters at
once.

A sparse gradient (of an embedding) touches its rows only, where a row without gradient
would not change anyway (SGD, AdaGrad). The other rules change such rows, too (Adam's
momentum decays), so they make the gradient dense, unless ``optimizer.lazy_rows = True``
says to leave absent rows and their state alone: much faster, and another algorithm.
"""

import inspect
import math

import numpy as np

from dyrnn import kernels
from dyrnn.backend import get_array_module
from dyrnn.engine.gradients import Rows
from dyrnn.errors import NonFiniteError, SnapshotError
from dyrnn.kernels import parallel
from dyrnn.link import Link

# Elements in a block: four arrays of float32 in a second-level cache of 1 MB, and work
# enough for a call of NumPy that two threads do not wait for each other's interpreter.
_BLOCK = 1 << 16


class Optimizer:
    """Base of all optimizers.

    A subclass defines ``rule(p, g, state, t)``, which changes ``p`` and the arrays in
    ``state`` in place (``g`` is a copy it may overwrite), or all of ``update_param``.

    Attributes
    ----------
    target : Link or None
        The model, after :meth:`setup`.
    t : int
        Number of updates made.
    epoch : int
        Number of calls of :meth:`new_epoch`.
    hooks : dict
        Functions called with the optimizer before each update, by name.
    lazy_rows : bool
        Whether rows without gradient are left alone by every rule.
    ranges : dict
        For each hyperparameter its upper limit; all are >= 0 and below it.
    """

    ranges: dict[str, float] = {}
    skips_absent_rows = False
    kernel: str | None = None  # a class's own: a subclass may have another rule

    def __new__(cls, *args, **kwargs):
        """Refuse an unknown keyword: the rate is ``lr`` here, and ``alpha`` there."""
        # A decorator's own arguments count, too.
        signature = inspect.signature(cls.__init__, follow_wrapped=False)
        known = list(signature.parameters.values())[1:]
        names = [parameter.name for parameter in known]
        unknown = [name for name in kwargs if name not in names]
        if unknown and all(p.kind is not p.VAR_KEYWORD for p in known):
            raise TypeError(
                f"{cls.__name__} has no argument {unknown[0]!r}; it takes: "
                f"{', '.join(names)}"
            )
        return super().__new__(cls)

    def __init__(self):
        self.target = None
        self.t = 0
        self.epoch = 0
        self.hooks = {}
        self.lazy_rows = False
        self._states = {}
        self._check_hyperparameters()

    def setup(self, link):
        """Take ``link`` as the model to train; return the optimizer."""
        if not isinstance(link, Link):
            raise TypeError(
                f"{type(self).__name__}.setup takes a link, not a {type(link).__name__}"
            )
        if next(link.params(), None) is None:
            raise ValueError(
                f"{type(self).__name__}.setup: {type(link).__name__} has no parameters "
                "to train. Assign parameters and links to attributes of it inside "
                "`with self.init_scope():`."
            )
        self.target = link
        self.t = 0
        self.epoch = 0
        self._states = {}
        return self

    def add_hook(self, hook, name=None):
        """Call ``hook(optimizer)`` before each update, after hooks added earlier."""
        if not callable(hook):
            raise TypeError(f"a hook is callable; a {type(hook).__name__} is not")
        name = name or getattr(hook, "name", None) or getattr(hook, "__name__", "hook")
        if name in self.hooks:
            raise ValueError(f"there is a hook {name!r} already; give another name")
        self.hooks[name] = hook

    def remove_hook(self, name):
        """Drop the hook called ``name``."""
        if name not in self.hooks:
            names = ", ".join(self.hooks) or "none"
            raise KeyError(f"there is no hook {name!r}; there are: {names}")
        del self.hooks[name]

    def update(self, lossfun=None, *args, **kwargs):
        """Change the parameters.

        Parameters
        ----------
        lossfun : callable, optional
            ``lossfun(*args, **kwargs)`` returns the loss, whose gradients are computed.
            Without it the gradients that are there are used.

        Raises
        ------
        NonFiniteError
            If the loss is NaN or infinite, before anything is changed.
        """
        self._check_target("update")
        self._check_hyperparameters()
        if lossfun is not None:
            loss = lossfun(*args, **kwargs)
            _check_loss(loss.array)
            self.target.cleargrads()
            loss.backward()
            del loss
        for hook in list(self.hooks.values()):
            hook(self)
        self.t += 1
        todo = []
        for _, param in self.target.namedparams(only_updated=True):
            if param.unscaled_gradient()[0] is None:
                continue
            state = self._states.get(param)
            if state is None:
                state = self._states[param] = {"t": 0, **self.init_state(param)}
            state["t"] += 1
            todo.append((param, state))
        if vars(type(self)).get("kernel") and todo and todo[0][0].xp is not np:
            todo = self._update_together(todo)
        for param, state in todo:
            self.update_param(param, state)

    def new_epoch(self):
        """Count an epoch."""
        self.epoch += 1

    def init_state(self, param):
        """Return the arrays to keep for ``param``, by name."""
        return {}

    def rule(self, p, g, state, t):
        """Change a block ``p`` in place by the gradient ``g``, at its update ``t``."""
        raise NotImplementedError(
            f"{type(self).__name__} defines neither rule nor update_param"
        )

    def factor(self):
        """Return a number to multiply ``g`` by before the rule is given it."""
        return 1.0

    def numbers(self, t):
        """Return what the kernel needs of the hyperparameters at update ``t``."""
        raise NotImplementedError(f"{type(self).__name__} has a kernel, but no numbers")

    def _update_together(self, todo):
        """Update what a kernel can, and return the rest."""
        groups = {}
        for param, state in todo:
            groups.setdefault((param.dtype, state["t"]), []).append((param, state))
        rest = []
        for (_, t), group in groups.items():
            items = []
            for param, state in group:
                gradient, rate = param.unscaled_gradient()
                if isinstance(gradient, Rows):
                    gradient, rate = param.grad, 1.0
                arrays = [value for name, value in state.items() if name != "t"]
                items.append((param.array, gradient, rate, arrays))
            if not kernels.update(self.kernel, self.numbers(t), items):
                rest += group
        return rest

    def update_param(self, param, state):
        """Change ``param`` and its ``state`` in place."""
        gradient, rate = param.unscaled_gradient()
        arrays = {name: value for name, value in state.items() if name != "t"}
        array = param.array
        if isinstance(gradient, Rows):
            if self.skips_absent_rows or self.lazy_rows:
                ids = gradient.ids
                rows = {name: value[ids] for name, value in arrays.items()}
                chosen = array[ids]
                self._run(chosen, gradient.values, rate, rows, state["t"])
                array[ids] = chosen
                for name, value in arrays.items():
                    value[ids] = rows[name]
                return
            gradient, rate = param.grad, 1.0
        if array.ndim == 0:
            array, gradient = array[None], gradient[None]
            arrays = {name: value[None] for name, value in arrays.items()}
        self._run(array, gradient, rate, arrays, state["t"])

    def _run(self, array, gradient, rate, arrays, t):
        """Apply the rule block by block."""
        if array.size == 0:
            return
        xp = get_array_module(array)
        rate = rate * self.factor()
        dtype = working_dtype(array.dtype)

        def run(part, step):
            for start in range(part.start, part.stop, step):
                block = slice(start, min(start + step, part.stop))
                p = array[block]
                work = p.astype(dtype) if p.dtype != dtype else p
                g = xp.multiply(gradient[block], rate, dtype=dtype)
                self.rule(work, g, {name: a[block] for name, a in arrays.items()}, t)
                if work is not p:
                    p[...] = work

        rows = len(array)
        if xp is np:
            step = max(1, _BLOCK * rows // array.size)
            parallel(lambda part: run(part, step), rows, 4 * step)
        else:
            run(slice(0, rows), rows)

    def serialize(self, s):
        """Save or load counts, hyperparameters, what is frozen, and all states."""
        self._check_target("serialize")
        mine = type(self).__name__
        saved = s("class", mine)
        if saved != mine:
            raise SnapshotError(
                f"the file has the state of optimizer {saved}, but this is {mine}"
            )
        self.t = s("t", self.t)
        self.epoch = s("epoch", self.epoch)
        for name in self.ranges:
            setattr(self, name, s(name, float(getattr(self, name))))
        self._serialize_frozen(s)
        params = dict(self.target.namedparams())
        states = {
            path: self._states[param]
            for path, param in params.items()
            if param in self._states
        }
        steps = s("steps", {path: state["t"] for path, state in states.items()})
        if s.loading:
            states = self._new_states(params, steps)
        for path, state in states.items():
            child = s
            for part in path[1:].split("/"):
                child = child[part]
            for name in state:
                if name != "t":
                    state[name] = child(name, state[name])
        if s.loading:
            self._states = {params[path]: state for path, state in states.items()}
        for name, hook in self.hooks.items():
            if hasattr(hook, "serialize"):
                hook.serialize(s["hooks"][name])

    def _serialize_frozen(self, s):
        if not s.has("frozen"):
            return
        links = dict(self.target.namedlinks())
        frozen = [path for path, link in links.items() if not link.update_enabled]
        frozen = s("frozen", frozen)
        if s.loading:
            for path, link in links.items():
                link.update_enabled = path not in frozen

    def _new_states(self, params, steps):
        states = {}
        for path, t in steps.items():
            if path not in params or type(t) is not int or t < 0:
                raise SnapshotError(
                    f"the file has optimizer state for parameter {path} (update {t}), "
                    "which the model does not have"
                )
            if not params[path].is_initialized:
                raise SnapshotError(
                    f"parameter {path} has no values yet; load the model before its "
                    "optimizer"
                )
            states[path] = {"t": t, **self.init_state(params[path])}
        return states

    def _check_target(self, what):
        if self.target is None:
            raise RuntimeError(
                f"{type(self).__name__}.{what} before setup: call "
                "optimizer.setup(model) first"
            )

    def _check_hyperparameters(self):
        for name, limit in self.ranges.items():
            value = getattr(self, name)
            try:
                is_allowed = 0 <= value < limit
            except (TypeError, ValueError):  # a string, an array
                is_allowed = False
            if not is_allowed:
                upper = "" if limit == math.inf else f" and < {limit:g}"
                raise ValueError(
                    f"{type(self).__name__}: {name} is {value!r}; "
                    f"use a number >= 0{upper}"
                )
            # One of NumPy computes in its own type, and a file has Python's.
            setattr(self, name, float(value))


def _check_loss(loss):
    """Raise if the loss is not finite; a GPU would have to be waited for."""
    if isinstance(loss, np.ndarray) and not np.isfinite(loss).all():
        raise NonFiniteError(
            f"the loss is {loss}; nothing was updated. Lower the learning rate, clip "
            "the gradients, or look for the operation in debug mode (DYRNN_DEBUG=1)."
        )


def working_dtype(dtype):
    """Return the type to compute in: squares of float16 gradients underflow."""
    return np.dtype(np.float32) if dtype == np.float16 else dtype
