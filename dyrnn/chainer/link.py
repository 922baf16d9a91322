"""``chainer.Link``, ``Chain`` and ``ChainList``: parameters, and trees of them."""

import collections
import collections.abc
import contextlib
import copy
import warnings

import numpy as np

from dyrnn.chainer import _backend, backend, initializers
from dyrnn.chainer.device_resident import DeviceResident
from dyrnn.chainer.link_hook import (
    LinkHook,
    _ForwardPostprocessCallbackArgs,
    _ForwardPreprocessCallbackArgs,
    _of_thread,
)
from dyrnn.chainer.variable import Parameter

# Sequential registers itself: it is a ChainList, one file further up.
_sequential: list[type] = []
# Not a check whether something can be called: a mixin of a link may have it, too.
_CALL = "__call__"


def _is_shape(value):
    try:
        if isinstance(value, collections.abc.Sequence):
            return all(int(x) or True for x in value)
        return value is None or int(value) is not None
    except TypeError:
        return False


class Link(DeviceResident):
    """Parameters, persistent values, and a function of them called ``forward``.

    Assigning a :class:`Parameter` inside ``init_scope()`` registers it. Keywords are
    names and shapes (or pairs of shape and type) of parameters, as in version 1.
    """

    _local_link_hooks = None
    _is_initialized = False
    _within_init_scope = False

    def __init__(self, **params):
        super().__init__()
        self._params = set()
        self._persistent = set()
        self._within_init_scope = False
        self.name = None
        self._is_initialized = True
        for name, value in params.items():
            shape, dtype = (value, np.float32) if _is_shape(value) else value
            self.add_param(name, shape, dtype=dtype)

    def _check_initialized(self):
        if not self._is_initialized:
            raise RuntimeError("Link.__init__() has not been called.")

    # Texts

    def __str__(self):
        specs = ", ".join(f"{key}={value}" for key, value in self.printable_specs)
        return f"{type(self).__name__}({specs})"

    @property
    def printable_specs(self):
        """Pairs of name and value that ``str`` shows."""
        yield from ()

    def _tree_text(self, named_children):
        lines = []
        for name, child in named_children:
            lines += [f"  {line}\n" for line in f"({name}): {child},".splitlines()]
        body = "\n" + "".join(lines) if lines else ""
        return f"{type(self).__name__}({body})"

    # Hooks

    @property
    def local_link_hooks(self):
        """The hooks of this link alone, by name."""
        if self._local_link_hooks is None:
            self._local_link_hooks = collections.OrderedDict()
        return self._local_link_hooks

    @property
    def _n_local_link_hooks(self):
        return len(self._local_link_hooks or ())

    def add_hook(self, hook, name=None):
        """Call a hook around this link."""
        if not isinstance(hook, LinkHook):
            raise TypeError("Hook must be of type LinkHook")
        name = hook.name if name is None else name
        hooks = self.local_link_hooks
        if name in hooks:
            raise KeyError(f"Hook {name} already exists")
        hooks[name] = hook
        hook.added(self)
        return self

    def delete_hook(self, name):
        """Do not call a hook any more."""
        if name not in self.local_link_hooks:
            raise KeyError(f"Hook {name} does not exist")
        self.local_link_hooks[name].deleted(self)
        del self.local_link_hooks[name]

    def __call__(self, *args, **kwargs):
        if not self._is_initialized:
            self._check_initialized()
        hooks = _of_thread.hooks
        if hooks or self._local_link_hooks:
            hooks = list({**hooks, **(self._local_link_hooks or {})}.values())
            before = _ForwardPreprocessCallbackArgs(self, "forward", args, kwargs)
            for hook in hooks:
                hook.forward_preprocess(before)
        # A mixin further on may define __call__; else it is forward.
        forward = getattr(super(), _CALL, None) or self.forward
        out = forward(*args, **kwargs)
        if hooks:
            after = _ForwardPostprocessCallbackArgs(self, "forward", args, kwargs, out)
            for hook in hooks:
                hook.forward_postprocess(after)
        return out

    # Registering

    @property
    def within_init_scope(self):
        """Whether assignments register."""
        return self._within_init_scope

    @contextlib.contextmanager
    def init_scope(self):
        """Register parameters and links assigned inside the ``with`` block."""
        self._check_initialized()
        before = self.within_init_scope
        self._within_init_scope = True
        try:
            yield
        finally:
            self._within_init_scope = before

    def __setattr__(self, name, value):
        if self._within_init_scope and isinstance(value, Parameter):
            value.name = name
            self._params.add(name)
            self._persistent.discard(name)
        super().__setattr__(name, value)

    def __delattr__(self, name):
        self._params.discard(name)
        self._persistent.discard(name)
        super().__delattr__(name)

    def add_param(self, name, shape=None, dtype=np.float32, initializer=None):
        """Register a new parameter, or give a waiting one of version 1 its shape."""
        if initializer is None:
            initializer = initializers.NaN(dtype)
        waiting = vars(self).get(name)
        if shape is not None and getattr(waiting, "is_initialized", True) is False:
            waiting.initializer = initializers._get_initializer(initializer)
            waiting.initialize(shape)
            return
        if name in vars(self):
            raise AttributeError(
                f"cannot register a new parameter {name}: attribute exists"
            )
        with self.init_scope():
            setattr(self, name, Parameter(initializer, shape))

    def add_uninitialized_param(self, name):
        """Register a parameter that waits for ``add_param`` of version 1."""
        self.add_param(name)

    @property
    def has_uninitialized_params(self):
        """Whether a parameter of this link itself waits for its shape; version 1."""
        values = vars(self)
        return any(not values[name].is_initialized for name in self._params)

    def add_persistent(self, name, value):
        """Register a new value that is saved, but not trained."""
        if name in vars(self):
            raise AttributeError(
                f"cannot register a new persistent value {name}: attribute exists"
            )
        self._persistent.add(name)
        self._params.discard(name)
        vars(self)[name] = value

    def register_persistent(self, name):
        """Register an attribute as one that is saved, but not trained."""
        if not hasattr(self, name):
            raise AttributeError(
                f"cannot register non-existent attribute {name} as a persistent value"
            )
        self._persistent.add(name)
        self._params.discard(name)

    @classmethod
    def from_params(cls, *args, **kwargs):
        """Make a link from its parameters' values."""
        raise NotImplementedError("This link does not implement `from_params`.")

    # The tree: a link alone is a tree of one. Subclasses say what their children are.

    def _named_children(self):
        """Return pairs of name and link, in order."""
        return ()

    def children(self):
        """Yield the links directly below."""
        for _, child in self._named_children():
            yield child

    def links(self, skipself=False):
        """Yield this link and all below."""
        for _, link in self.namedlinks(skipself):
            yield link

    def namedlinks(self, skipself=False):
        """Yield pairs of path and link."""
        if not skipself:
            yield "/", self
        for name, child in self._named_children():
            yield f"/{name}", child
            for path, link in child.namedlinks(True):
                yield f"/{name}{path}", link

    def params(self, include_uninit=True):
        """Yield the parameters of this link and of all below, sorted by name."""
        for name in sorted(self._params):
            parameter = vars(self)[name]
            if include_uninit or parameter.data is not None:
                yield parameter
        for child in self.children():
            yield from child.params(include_uninit)

    def namedparams(self, include_uninit=True):
        """Yield pairs of path and parameter."""
        for name in sorted(self._params):
            parameter = vars(self)[name]
            if include_uninit or parameter.is_initialized:
                yield f"/{name}", parameter
        for name, child in self._named_children():
            for path, parameter in child.namedparams(include_uninit):
                yield f"/{name}{path}", parameter

    def count_params(self):
        """Return the number of trained values."""
        size = 0
        for name, parameter in self.namedparams():
            if parameter.array is None:
                warnings.warn(
                    f"Parameter '{name}' has not been initialized, so the resulting "
                    "count will not include the number of parameters in it.",
                    stacklevel=2,
                )
            else:
                size += parameter.size
        return size

    def device_resident_accept(self, visitor):
        super().device_resident_accept(visitor)
        values = vars(self)
        for name in self._params:
            visitor.visit_variable(values[name])
        for name in self._persistent:
            if isinstance(values[name], _backend.array_types()):
                values[name] = visitor.visit_array(values[name])
        for child in self.children():
            child.device_resident_accept(visitor)

    @property
    def _device_id(self):
        warnings.warn(
            "Link._device_id is left only for backward compatibility and likely to be "
            "removed. Use Link.device instead.",
            DeprecationWarning,
            stacklevel=1,
        )
        return getattr(getattr(self.device, "device", None), "id", None)

    # Copies

    def copy(self, mode="share"):
        """Return a copy: 'share' the values, 'copy' them, or 'init'-ialize anew."""
        if mode == "share":
            new = copy.copy(self)
            new._params = set(self._params)
            new._persistent = set(self._persistent)
            new.name = None
            values = vars(new)
            for name in new._params:
                values[name] = copy.copy(values[name])
                values[name].grad = None
            return new
        if mode == "copy":
            return copy.deepcopy(self)
        if mode == "init":
            new = copy.deepcopy(self)
            for parameter in new.params(include_uninit=False):
                parameter.initialize(parameter.shape)
            return new
        raise ValueError(
            "The 'mode' argument should be either 'init','copy', or 'share'. "
            f"But {mode} was given."
        )

    def repeat(self, n_repeat, mode="init"):
        """Return a Sequential of copies."""
        result = _sequential[0]()
        if n_repeat > 0 and mode not in ("init", "copy", "share"):
            raise ValueError(
                "The 'mode' argument should be either 'init','copy', or 'share'. "
                f"But {mode} was given."
            )
        for _ in range(n_repeat):
            result.append(self.copy(mode))
        return result

    def copyparams(self, link, copy_persistent=True):
        """Take over another link's values."""
        theirs, own = vars(link), vars(self)
        for name in self._params:
            own[name].copydata(theirs[name])
        if not copy_persistent:
            return
        kinds = _backend.array_types()
        for name in self._persistent:
            if isinstance(own[name], kinds) and isinstance(theirs[name], kinds):
                backend.copyto(own[name], theirs[name])
            else:
                own[name] = copy.deepcopy(theirs[name])

    # Gradients and updates

    def cleargrads(self):
        """Forget all gradients."""
        for parameter in self.params():
            parameter.cleargrad()

    def zerograds(self):
        """Set all gradients to zeros; older than :meth:`cleargrads`."""
        warnings.warn(
            "Link.zerograds is deprecated. Use Link.cleargrads instead.",
            DeprecationWarning,
            stacklevel=1,
        )
        for parameter in self.params():
            parameter.zerograd()

    def addgrads(self, link):
        """Add another link's gradients."""
        for name in self._params:
            vars(self)[name].addgrad(vars(link)[name])

    def _rules(self):
        return [p.update_rule for p in self.params() if p.update_rule is not None]

    def enable_update(self):
        """Let the optimizer change the parameters."""
        for rule in self._rules():
            rule.enabled = True

    def disable_update(self):
        """Let the optimizer leave the parameters alone."""
        for rule in self._rules():
            rule.enabled = False

    @property
    def update_enabled(self):
        """Whether the optimizer changes any parameter."""
        return any(rule.enabled for rule in self._rules())

    def serialize(self, serializer):
        """Save or load the parameters and the persistent values."""
        values = vars(self)
        for name in self._params:
            parameter = values[name]
            data = serializer(name, parameter.data)
            if parameter.data is None and data is not None:
                parameter.initialize(data.shape)
                parameter.data[...] = parameter.device.send(data)
        for name in self._persistent:
            values[name] = serializer(name, values[name])


class Chain(Link):
    """A link with named child links.

    Assigning a link inside ``init_scope()`` registers it, and so do the keywords.
    """

    def __init__(self, **links):
        super().__init__()
        self._children = set()
        for name, link in links.items():
            self.add_link(name, link)

    def __str__(self):
        return self._tree_text((child.name, child) for child in self.children())

    def __getitem__(self, name):
        return getattr(self, name)

    def __setattr__(self, name, value):
        if self._within_init_scope and isinstance(value, Link):
            if hasattr(self, name):
                raise AttributeError(
                    f"cannot register a new link {name}: attribute exists"
                )
            value.name = name
            self._children.add(name)
        super().__setattr__(name, value)

    def __delattr__(self, name):
        self._children.discard(name)
        super().__delattr__(name)

    def add_link(self, name, link):
        """Register a child link."""
        if name in vars(self):
            raise AttributeError(f"cannot register a new link {name}: attribute exists")
        if not isinstance(link, Link):
            raise TypeError("cannot register a non-link object as a child")
        with self.init_scope():
            setattr(self, name, link)

    def _named_children(self):
        return [(name, vars(self)[name]) for name in sorted(self._children)]

    def copy(self, mode="share"):
        new = super().copy(mode)
        new._children = set(new._children)
        values = vars(new)
        for name in new._children:
            child = values[name].copy(mode)
            child.name = name
            values[name] = child
        return new

    def copyparams(self, link, copy_persistent=True):
        super().copyparams(link, copy_persistent)
        for name in self._children:
            vars(self)[name].copyparams(vars(link)[name], copy_persistent)

    def addgrads(self, link):
        super().addgrads(link)
        for name in self._children:
            vars(self)[name].addgrads(vars(link)[name])

    def serialize(self, serializer):
        super().serialize(serializer)
        for name in self._children:
            vars(self)[name].serialize(serializer[name])


class ChainList(Link, collections.abc.MutableSequence):
    """A link with child links in a list."""

    def __init__(self, *links):
        super().__init__()
        self._children = []
        for link in links:
            self.add_link(link)

    def __str__(self):
        return self._tree_text(enumerate(self._children))

    def __setattr__(self, name, value):
        if self._within_init_scope and isinstance(value, Link):
            raise TypeError(
                "cannot register a new link within a "
                '"with chainlist.init_scope():" block.'
            )
        super().__setattr__(name, value)

    def _number(self):
        for i, child in enumerate(self._children):
            child.name = str(i)

    def __setitem__(self, index, value):
        if not isinstance(index, (int, slice)):
            raise TypeError(
                "ChainList indices must be integers or slices, "
                f"not {type(index).__name__}"
            )
        if isinstance(index, int):
            value.name = str(index)
        self._children[index] = value
        if isinstance(index, slice):
            self._number()

    def __getitem__(self, index):
        return self._children[index]

    def __delitem__(self, index):
        del self._children[index]
        self._number()

    def insert(self, index, link):
        """Insert a child link."""
        self._children.insert(index, link)
        self._number()

    def __iter__(self):
        return iter(self._children)

    def __len__(self):
        return len(self._children)

    def add_link(self, link):
        """Append a child link."""
        self.append(link)

    def _named_children(self):
        return [(str(i), child) for i, child in enumerate(self._children)]

    def copy(self, mode="share"):
        new = super().copy()
        new._children = [child.copy(mode) for child in self._children]
        new._number()
        return new

    def copyparams(self, link, copy_persistent=True):
        super().copyparams(link, copy_persistent)
        for i, child in enumerate(self._children):
            child.copyparams(link[i], copy_persistent)

    def addgrads(self, link):
        super().addgrads(link)
        for i, child in enumerate(self._children):
            child.addgrads(link[i])

    def serialize(self, serializer):
        super().serialize(serializer)
        for i, child in enumerate(self._children):
            child.serialize(serializer[str(i)])
