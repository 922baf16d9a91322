"""Links: objects that hold parameters and other links, and apply functions with them.

Assign a :class:`~dyrnn.engine.parameter.Parameter` or a link to an attribute inside
``with self.init_scope():`` and it is registered, in order of assignment: it is saved,
moved between devices, and trained. Assigned outside, it is an ordinary attribute that
nothing will train or save. State carried over time (an LSTM's ``c`` and ``h``) is plain
attributes, named in the class attribute ``carried``, and cleared by ``reset_state``.
"""

import copy
from contextlib import contextmanager

from dyrnn import backend
from dyrnn.engine.core import Variable, as_array
from dyrnn.engine.parameter import Parameter
from dyrnn.errors import ShapeError, SnapshotError


class Link:
    """A node in the tree that makes up a model.

    A subclass calls ``super().__init__()`` first, makes its parameters inside
    ``init_scope()``, and defines ``forward``; calling the link calls ``forward``.

    Attributes
    ----------
    name : str or None
        The name its parent knows it by.
    carried : tuple of str
        Names of attributes that hold variables (or None) carried over time. They are
        what :meth:`reset_state` clears and snapshots hold; ``__init__`` sets them.
    takes_windows : bool
        Whether a link with state takes a window (T, B, ...) as it does a step
        (B, ...). A class that overrides ``forward`` says so anew.
    update_enabled : bool
        Whether optimizers change the link's own parameters.

    Examples
    --------
    >>> class Scaling(Link):
    ...     def __init__(self, size):
    ...         super().__init__()
    ...         with self.init_scope():
    ...             self.w = Parameter(1.0, (size,))
    ...
    ...     def forward(self, x):
    ...         return x * self.w
    >>> Scaling(3)
    Scaling(w (3,))
    """

    carried: tuple[str, ...] = ()
    takes_windows = False

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        if isinstance(cls.carried, str):
            raise TypeError(
                f"{cls.__name__}: carried is a tuple of names, not a str. Write "
                f"carried = ({cls.carried!r},) with a comma."
            )

    def __init__(self):
        # Dictionaries as ordered sets of attribute names.
        self._params = {}
        self._persistent = {}
        self._links = {}
        self._is_in_init_scope = False
        self._device = backend.CPU
        self.name = None
        self.update_enabled = True

    # Registration

    @contextmanager
    def init_scope(self):
        """Register the parameters and links assigned inside the ``with`` block."""
        before, known = self._is_in_init_scope, set(self.__dict__)
        self._is_in_init_scope = True
        try:
            yield
        finally:
            self._is_in_init_scope = before
        for name, value in self.__dict__.items():
            if name not in known and isinstance(value, (list, tuple, dict)):
                self._check_container(name, value)

    def _check_container(self, name, value):
        """Refuse links and parameters that only a list or the like holds."""
        values = value.values() if isinstance(value, dict) else value
        parts = {part for part in values if isinstance(part, (Link, Parameter))}
        if parts.difference(self.links(), self.params()):
            raise TypeError(
                f"{type(self).__name__}.{name} is a {type(value).__name__} of links or "
                "parameters, which nothing would train or save. Use a ChainList or a "
                "Sequential of links, or register each inside the same init_scope(), "
                "with setattr or add_link."
            )

    def __setattr__(self, name, value):
        own = self.__dict__
        if (
            own.get("_is_in_init_scope")
            or name in own.get("_params", ())
            or name in own.get("_links", ())
        ):
            self._register(name, value)
        object.__setattr__(self, name, value)

    def _register(self, name, value):
        """Enter or replace the parameter or link ``name``; None ends it."""
        names = None
        if isinstance(value, Parameter):
            names = self._params
            value.name = name if value.name is None else value.name
        elif isinstance(value, Link):
            names = self._links
            value.name = name
        elif value is not None and (name in self._params or name in self._links):
            place = f"{type(self).__name__}.{name}"
            raise TypeError(
                f"{place} is registered, but a {type(value).__name__} in its place "
                "would be neither trained nor saved. To change a parameter's values, "
                f"assign to {place}.array[...] instead; to take it out, del {place}."
            )
        for others in (self._params, self._links):
            if others is not names:
                others.pop(name, None)
        if names is not None:
            names[name] = None

    def __getattr__(self, name):
        """Say what is missing; called for attributes that are not there."""
        kind = type(self).__name__
        if "_params" not in self.__dict__:
            if name in _OWN:
                raise RuntimeError(
                    f"{kind}: Link.__init__() has not been called. Call "
                    "super().__init__() first in __init__."
                )
        # Not before __init__, as in a copy that is being made: ``carried`` may need it.
        elif name in self.carried:
            raise AttributeError(
                f"{kind}.carried names {name!r}, but there is no such attribute. "
                f"Assign self.{name} = None in __init__, or correct the name."
            )
        return object.__getattribute__(self, name)

    def __delattr__(self, name):
        for names in (self._params, self._persistent, self._links):
            names.pop(name, None)
        object.__delattr__(self, name)

    def add_param(self, name, shape=None, initializer=None):
        """Make and register a parameter; without a shape it is initialised later."""
        with self.init_scope():
            setattr(self, name, Parameter(initializer, shape))

    def add_persistent(self, name, value):
        """Set an attribute and save it with the parameters, without training it."""
        setattr(self, name, value)
        self.register_persistent(name)

    def register_persistent(self, name):
        """Save the attribute ``name``, an array or a number, with the parameters."""
        if not hasattr(self, name):
            raise AttributeError(
                f"{type(self).__name__} has no attribute {name!r} to save; assign it "
                "first, or call add_persistent(name, value)"
            )
        self._persistent[name] = None

    # Calling

    def __call__(self, *args, **kwargs):
        try:
            return self.forward(*args, **kwargs)
        except ShapeError as error:
            # Each link on the way puts its name before: "predictor: l1: linear: ..."
            error.args = (f"{self.name or type(self).__name__}: {error}",)
            raise

    def forward(self, *args, **kwargs):
        """Apply the link; a subclass defines it."""
        raise NotImplementedError(
            f"{type(self).__name__} has no forward(self, ...), so it cannot be called"
        )

    # Walking the tree

    def children(self):
        """Yield the links registered directly in this one."""
        for _, child in self._named_children():
            yield child

    def _named_children(self):
        for name in self._links:
            yield name, self.__dict__[name]

    def namedlinks(self, skipself=False):
        """Yield (path, link) for this link, ``"/"``, and all below, parents first."""
        if not skipself:
            yield "/", self
        for name, child in self._named_children():
            for path, link in child.namedlinks():
                yield f"/{name}{path if path != '/' else ''}", link

    def links(self, skipself=False):
        """Yield this link and all links below it, parents first."""
        for _, link in self.namedlinks(skipself):
            yield link

    def namedparams(self, include_uninit=True, only_updated=False):
        """Yield (path, parameter), such as ``"/l1/upward/W"``, each parameter once.

        Parameters
        ----------
        include_uninit : bool
            Whether to yield those that wait for their shape.
        only_updated : bool
            Leave out parameters of links whose ``update_enabled`` is false.
        """
        seen = set()
        for prefix, link in self.namedlinks():
            if only_updated and not link.update_enabled:
                continue
            for name in link._params:
                param = link.__dict__[name]
                if param in seen or not (include_uninit or param.is_initialized):
                    continue
                seen.add(param)
                yield f"{prefix if prefix != '/' else ''}/{name}", param

    def params(self, include_uninit=True):
        """Yield all parameters of this link and those below it, each once."""
        for _, param in self.namedparams(include_uninit):
            yield param

    def count_params(self):
        """Return the number of values in all initialised parameters."""
        return sum(param.size for param in self.params(include_uninit=False))

    def cleargrads(self):
        """Forget the gradients of all parameters."""
        for param in self.params():
            param.cleargrad()

    def copyparams(self, link):
        """Copy the values of all parameters from a link of the same structure."""
        for (path, param), source in self._pairs(link):
            if source.is_initialized:
                if not param.is_initialized:
                    param.initialize(source.shape)
                _check_shapes(path, param, source.shape)
                param.array[...] = param.device.send(source.array)

    def addgrads(self, link):
        """Add the gradients of a link of the same structure to those of this one."""
        for (path, param), source in self._pairs(link):
            grad = source.grad
            if grad is not None:
                if not param.is_initialized:
                    param.initialize(source.shape)
                _check_shapes(path, param, grad.shape)
                grad = param.device.send(grad)
                param.grad = grad.copy() if param.grad is None else param.grad + grad

    def _pairs(self, link):
        others = dict(link.namedparams())
        mine = list(self.namedparams())
        paths = {path for path, _ in mine}
        if paths != set(others):
            odd = ", ".join(sorted(paths ^ set(others)))
            raise ValueError(
                f"{type(self).__name__} and {type(link).__name__} do not have the same "
                f"parameters: {odd} is in one of them only"
            )
        return [(item, others[item[0]]) for item in mine]

    def enable_update(self):
        """Let optimizers change the parameters of this link and those below it."""
        for link in self.links():
            link.update_enabled = True

    def disable_update(self):
        """Freeze the parameters of this link and those below it."""
        for link in self.links():
            link.update_enabled = False

    # Copies

    def copy(self, mode="share"):
        """Return a copy of this link and those below it.

        Parameters
        ----------
        mode : {"share", "copy", "init"}
            ``"share"``: the copy has the very same parameters, and its own carried
            state: a model to evaluate with. ``"copy"``: parameters of its own with the
            same values. ``"init"``: parameters of its own, drawn anew.
        """
        if mode == "share":
            return self._shared_copy()
        if mode not in ("copy", "init"):
            raise ValueError(f"copy mode {mode!r}: use 'share', 'copy' or 'init'")
        link = copy.deepcopy(self)
        link.name = None
        for param, original in zip(link.params(), self.params(), strict=True):
            param.initializer = original.initializer
            if mode == "init" and param.is_initialized:
                param.initialize(param.shape)
                param.cleargrad()
        if mode == "init":
            link.reset_state()
        return link

    def _shared_copy(self):
        link = copy.copy(self)
        link.name = None
        for names in ("_params", "_persistent", "_links"):
            link.__dict__[names] = dict(getattr(self, names))
        for name in self._links:
            child = self.__dict__[name].copy()
            child.name = name
            link.__dict__[name] = child
        return link

    def repeat(self, n, mode="init"):
        """Return a :class:`Sequential` of ``n`` copies of this link."""
        return Sequential(*[self.copy(mode) for _ in range(n)])

    # Devices

    @property
    def device(self):
        """The :class:`dyrnn.backend.Device` the link was last sent to."""
        return self._device

    @property
    def xp(self):
        """The array module of the link's device."""
        return self._device.xp

    def to_device(self, device):
        """Move parameters, persistent arrays and carried state; return the link."""
        device = backend.get_device(device)
        for param in self.params():
            param.to_device(device)
        for link in self.links():
            link._device = device
            for name in link._persistent:
                value = getattr(link, name)
                if backend.is_array(value):
                    setattr(link, name, device.send(value))
            for name in link.carried:
                value = getattr(link, name)
                if value is not None:
                    array = device.send(as_array(value))
                    setattr(link, name, Variable(array, requires_grad=False))
        return self

    def to_cpu(self):
        """Move to the CPU; return the link."""
        return self.to_device(backend.CPU)

    def to_gpu(self, index=0):
        """Move to the CUDA device ``index``; return the link."""
        return self.to_device(int(index))

    # State

    def reset_state(self):
        """Forget what is carried over time, here and in all links below."""
        for name in self.carried:
            getattr(self, name)  # a name that is wrong is refused
            setattr(self, name, None)
        for child in self.children():
            child.reset_state()

    def serialize(self, s):
        """Save or load parameters and persistent values.

        A parameter that waits for its shape takes shape and type from the file.
        """
        for name in self._params:
            param = self.__dict__[name]
            array = s(name, param.array)
            if s.loading and array is not param.array:
                param.array = None if array is None else self._device.send(array)
        for name in self._persistent:
            value = s(name, getattr(self, name))
            if s.loading:
                if backend.is_array(value):
                    value = self._device.send(value)
                setattr(self, name, value)
        for name, child in self._named_children():
            child.serialize(s[name])

    def serialize_state(self, s):
        """Save or load the values carried over time, without their graph."""
        for name in self.carried:
            value = getattr(self, name)
            if not s.loading:
                s(name, None if value is None else as_array(value))
                continue
            array = s(name, None)
            if array is not None:
                if not backend.is_array(array):
                    raise SnapshotError(
                        f"{type(self).__name__}.{name} is carried over time as an "
                        f"array, but the file has {array!r}"
                    )
                array = Variable(self._device.send(array), requires_grad=False)
            setattr(self, name, array)
        for name, child in self._named_children():
            child.serialize_state(s[name])

    def __repr__(self):
        own = ", ".join(_describe(name, self.__dict__[name]) for name in self._params)
        return _tree(type(self).__name__, own, list(self._named_children()))


class Chain(Link):
    """A link with named child links.

    Register children inside ``init_scope()``, or pass them as keyword arguments.
    ``chain["name"]`` is the child of that name.

    Examples
    --------
    >>> class Model(Chain):
    ...     def __init__(self):
    ...         super().__init__()
    ...         with self.init_scope():
    ...             self.first = Link()
    >>> Model()
    Model(
      first: Link()
    )
    """

    def __init__(self, **links):
        super().__init__()
        for name, link in links.items():
            self.add_link(name, link)

    def add_link(self, name, link):
        """Register ``link`` as the attribute ``name``."""
        if not isinstance(link, Link):
            raise TypeError(
                f"{type(self).__name__}.{name} must be a link, not a "
                f"{type(link).__name__}"
            )
        if hasattr(self, name):
            raise AttributeError(
                f"{type(self).__name__} has an attribute {name!r} already; choose "
                "another name"
            )
        with self.init_scope():
            setattr(self, name, link)

    def __getitem__(self, name):
        if name not in self._links:
            names = ", ".join(self._links) or "none"
            raise KeyError(
                f"{type(self).__name__} has no child link {name!r}; there are: {names}"
            )
        return self.__dict__[name]


class ChainList(Link):
    """A link with a list of child links, named ``"0"``, ``"1"``, ..."""

    def __init__(self, *links):
        super().__init__()
        self._list = []
        for link in links:
            self.append(link)

    def append(self, link):
        """Add a child at the end."""
        if not isinstance(link, Link):
            raise TypeError(
                f"{type(self).__name__} holds links, not a {type(link).__name__}"
            )
        link.name = str(len(self._list))
        self._list.append(link)

    add_link = append

    def _named_children(self):
        for index, child in enumerate(self._list):
            yield str(index), child
        yield from super()._named_children()

    def __len__(self):
        return len(self._list)

    def __iter__(self):
        return iter(self._list)

    def __getitem__(self, index):
        return self._list[index]

    def _shared_copy(self):
        link = super()._shared_copy()
        link._list = [child.copy() for child in self._list]
        for index, child in enumerate(link._list):
            child.name = str(index)
        return link


class Sequential(ChainList):
    """Links and functions applied one after the other.

    A layer that returns a tuple hands its elements to the next one as arguments. The
    links among the layers are children, named by their position among the links.

    Examples
    --------
    >>> model = Sequential(lambda x: x + 1, lambda x: x * 2)
    >>> model(3)
    8
    """

    def __init__(self, *layers):
        self.layers = []
        super().__init__(*layers)

    def append(self, layer):
        """Add a link or a function at the end."""
        if not callable(layer):
            raise TypeError(
                f"Sequential holds links and functions, not a {type(layer).__name__}"
            )
        self.layers.append(layer)
        if isinstance(layer, Link):
            super().append(layer)

    def forward(self, *xs):
        for layer in self.layers:
            xs = layer(*xs)
            if not isinstance(xs, tuple):
                xs = (xs,)
        return xs[0] if len(xs) == 1 else xs

    def __len__(self):
        return len(self.layers)

    def __iter__(self):
        return iter(self.layers)

    def __getitem__(self, index):
        return self.layers[index]

    def _shared_copy(self):
        link = super()._shared_copy()
        copies = dict(zip(map(id, self._list), link._list, strict=True))
        link.layers = [copies.get(id(layer), layer) for layer in self.layers]
        return link


# Set by __init__, of ChainList too.
_OWN = {"_params", "_persistent", "_links", "_is_in_init_scope", "_device", "_list"}


def _check_shapes(path, param, shape):
    if param.shape != shape:
        raise ShapeError(
            f"parameter {path} has shape {param.shape}, but {shape} was given"
        )


def _describe(name, param):
    return f"{name} {param.shape if param.is_initialized else '(not yet known)'}"


def _tree(title, own, children):
    if not children:
        return f"{title}({own})"
    lines = [own] if own else []
    lines += [f"{name}: {child!r}" for name, child in children]
    body = "\n".join(lines).replace("\n", "\n  ")
    return f"{title}(\n  {body}\n)"
