"""Links: objects that hold parameters and other links, and apply functions with them.

Assign a :class:`~dyrnn.engine.parameter.Parameter` or a link to an attribute inside
``with self.init_scope():`` and it is registered, in order of assignment: it is saved,
moved between devices, and trained. Assigned outside, it is an ordinary attribute that
nothing will train or save. State carried over time (an LSTM's ``c`` and ``h``) is
declared by its first assignment, ``with self.state_scope(): self.h = None``, or by the
class attribute ``carried``: it is saved by snapshots and cleared by ``reset_state``.
"""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, TypeVar

from dyrnn import backend
from dyrnn.description import Described
from dyrnn.engine.core import Variable, as_array, clear
from dyrnn.engine.parameter import Parameter
from dyrnn.errors import ShapeError, SnapshotError
from dyrnn.initializers import InitializerLike
from dyrnn.typing import Shape

_Self = TypeVar("_Self", bound="Link")


class Link(Described):
    """A node in the tree that makes up a model.

    A subclass calls ``super().__init__()`` first, makes its parameters inside
    ``init_scope()``, and defines ``forward``; calling the link calls ``forward``.

    Attributes
    ----------
    name : str or None
        The name its parent knows it by.
    carried : tuple of str
        Names of attributes that hold variables (or None) carried over time. They are
        what :meth:`reset_state` clears and snapshots hold. Those that a class names are
        None at first; :meth:`state_scope` adds more.
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
    name: str | None
    update_enabled: bool
    _params: dict
    _links: dict
    _persistent: dict  # as an ordered set of names
    _enter: Any  # called with each assignment inside a scope
    _below: Any  # the walk over all links below, and of what version it is
    # Of all trees, and of what in them is frozen.
    _version: ClassVar[int] = 0
    _device: Any

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        if isinstance(cls.carried, str):
            cls.carried = (cls.carried,)

    def __new__(cls, *args, **kwargs):
        """Make the registries, which are there before ``__init__``."""
        self = super().__new__(cls)
        own = self.__dict__
        own.update(_params={}, _links={}, _persistent={}, _enter=None, _below=None)
        own.update(_device=backend.CPU, name=None, update_enabled=True)
        if isinstance(cls.carried, tuple):  # and not a property
            own.update({name: None for name in cls.carried if not hasattr(cls, name)})
        return self

    def __init__(self):
        """Take no arguments; a subclass takes its own."""

    # Registration

    @contextmanager
    def init_scope(self) -> Iterator[None]:
        """Register the parameters and links assigned inside the ``with`` block."""
        known = set(self.__dict__)
        with self._entering(self._register):
            yield
        for name, value in self.__dict__.items():
            if name not in known and isinstance(value, (list, tuple, dict)):
                values = value.values() if isinstance(value, dict) else value
                parts = {part for part in values if isinstance(part, (Link, Parameter))}
                if parts.difference(self.links(), self.params()):
                    raise TypeError(
                        f"{type(self).__name__}.{name} is a {type(value).__name__} of "
                        "links or parameters, which nothing would train or save. Use a "
                        "ChainList or a Sequential of links, or register each inside "
                        "the same init_scope(), with setattr or add_link."
                    )

    @contextmanager
    def state_scope(self) -> Iterator[None]:
        """Declare what is assigned inside the ``with`` block as carried over time.

        Examples
        --------
        >>> class Sum(Link):
        ...     def __init__(self):
        ...         super().__init__()
        ...         with self.state_scope():
        ...             self.total = None
        >>> Sum().carried
        ('total',)
        """
        with self._entering(self._declare):
            yield

    @contextmanager
    def _entering(self, enter):
        """Call ``enter(name, value)`` before each assignment in the block."""
        before = self._enter
        self.__dict__["_enter"] = enter
        try:
            yield
        finally:
            self.__dict__["_enter"] = before

    def _declare(self, name, value):
        if value is not None and not hasattr(as_array(value), "shape"):
            raise TypeError(
                f"{type(self).__name__}.{name}: a {type(value).__name__} cannot be "
                "carried over time; give each variable, or None, a name of its own"
            )
        if name not in self.carried:
            self.__dict__["carried"] = (*self.carried, name)

    def __setattr__(self, name, value):
        if self._enter is not None:
            self._enter(name, value)
        elif name in self._params or name in self._links:
            self._register(name, value)
        elif name == "update_enabled":
            Link._version += 1
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
            names[name] = value
        Link._version += 1

    def __delattr__(self, name):
        for names in (self._params, self._persistent, self._links):
            names.pop(name, None)
        Link._version += 1
        object.__delattr__(self, name)

    def add_param(
        self, name: str, shape: Shape | None = None, initializer: InitializerLike = None
    ) -> None:
        """Make and register a parameter; without a shape it is initialised later."""
        with self.init_scope():
            setattr(self, name, Parameter(initializer, shape))

    def add_persistent(self, name: str, value: Any) -> None:
        """Set an attribute and save it with the parameters, without training it."""
        setattr(self, name, value)
        self.register_persistent(name)

    def register_persistent(self, name: str) -> None:
        """Save the attribute ``name``, an array or a number, with the parameters."""
        if not hasattr(self, name):
            raise AttributeError(
                f"{type(self).__name__} has no attribute {name!r} to save; assign it "
                "first, or call add_persistent(name, value)"
            )
        self._persistent[name] = None

    # Calling

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return self.forward(*args, **kwargs)
        except ShapeError as error:
            # Each link on the way puts its name before: "predictor: l1: linear: ..."
            name = f"{self.name or type(self).__name__}: "
            error.args = (name + str(error).removeprefix(name),)
            raise

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Apply the link; a subclass defines it."""
        raise NotImplementedError(
            f"{type(self).__name__} has no forward(self, ...), so it cannot be called"
        )

    # Walking the tree

    def children(self) -> Iterator["Link"]:
        """Iterate over the links registered directly in this one."""
        return iter(self._links.values())

    def _walk(self):
        """Return (path, link) for all links below, which are known until one changes.

        The list leaves out the link itself, so that it is freed when nobody holds it.
        """
        if self._below is None or self._below[0] != Link._version:
            found = []
            for name, child in self._links.items():
                found.append((f"/{name}", child))
                found += [(f"/{name}{path}", link) for path, link in child._walk()]
            self.__dict__["_below"] = Link._version, found
        return self._below[1]

    def __getstate__(self):
        return {**self.__dict__, "_below": None}

    def namedlinks(self, skipself: bool = False) -> Iterator[tuple[str, "Link"]]:
        """Iterate over (path, link): itself, ``"/"``, and all below, parents first."""
        return iter([*([] if skipself else [("/", self)]), *self._walk()])

    def links(self, skipself: bool = False) -> Iterator["Link"]:
        """Iterate over this link and all links below it, parents first."""
        return iter([link for _, link in self.namedlinks(skipself)])

    def namedparams(
        self, include_uninit: bool = True, only_updated: bool = False
    ) -> Iterator[tuple[str, Parameter]]:
        """Iterate over (path, parameter), as ``"/l1/upward/W"``, each parameter once.

        Parameters
        ----------
        include_uninit : bool
            Whether to yield those that wait for their shape.
        only_updated : bool
            Leave out parameters of links whose ``update_enabled`` is false.
        """
        found = {}
        for prefix, link in (("", self), *self._walk()):
            if link.update_enabled or not only_updated:
                for name, param in link._params.items():
                    if include_uninit or param.array is not None:
                        found.setdefault(param, f"{prefix}/{name}")
        return iter([(path, param) for param, path in found.items()])

    def params(self, include_uninit: bool = True) -> Iterator[Parameter]:
        """Iterate over the parameters of this link and those below it, each once."""
        return iter([param for _, param in self.namedparams(include_uninit)])

    def count_params(self) -> int:
        """Return the number of values in all initialised parameters."""
        return sum(param.size for param in self.params(include_uninit=False))

    def cleargrads(self) -> None:
        """Forget the gradients of all parameters."""
        clear(self.params())

    def copyparams(self, link: "Link") -> None:
        """Copy the values of all parameters from a link of the same structure."""
        for path, param, source in self._pairs(link):
            if source.is_initialized:
                _fit(path, param, source.shape)
                param.array[...] = param.device.send(source.array)

    def addgrads(self, link: "Link") -> None:
        """Add the gradients of a link of the same structure to those of this one."""
        for path, param, source in self._pairs(link):
            grad = source.grad
            if grad is not None:
                _fit(path, param, grad.shape)
                grad = param.device.send(grad)
                param.grad = grad.copy() if param.grad is None else param.grad + grad

    def _pairs(self, link):
        mine, others = dict(self.namedparams()), dict(link.namedparams())
        if mine.keys() != others.keys():
            odd = ", ".join(sorted(mine.keys() ^ others.keys()))
            raise ValueError(
                f"{type(self).__name__} and {type(link).__name__} do not have the same "
                f"parameters: {odd} is in one of them only"
            )
        return [(path, param, others[path]) for path, param in mine.items()]

    def enable_update(self) -> None:
        """Let optimizers change the parameters of this link and those below it."""
        for link in self.links():
            link.update_enabled = True

    def disable_update(self) -> None:
        """Freeze the parameters of this link and those below it."""
        for link in self.links():
            link.update_enabled = False

    # Copies

    def copy(self: _Self, mode: str = "share") -> _Self:
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
        own = link.__dict__
        own["_params"], own["_persistent"] = dict(self._params), dict(self._persistent)
        own["_links"] = {name: child.copy() for name, child in self._links.items()}
        for name, child in link._links.items():
            child.name = name
            if name in own:
                own[name] = child
        return link

    def repeat(self, n: int, mode: str = "init") -> "Sequential":
        """Return a :class:`Sequential` of ``n`` copies of this link."""
        return Sequential(*[self.copy(mode) for _ in range(n)])

    # Devices

    @property
    def device(self) -> backend.Device:
        """The :class:`dyrnn.backend.Device` the link was last sent to."""
        return self._device

    @property
    def xp(self) -> Any:
        """The array module of the link's device."""
        return self._device.xp

    def to_device(self: _Self, device: backend.DeviceLike) -> _Self:
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

    def to_cpu(self: _Self) -> _Self:
        """Move to the CPU; return the link."""
        return self.to_device(backend.CPU)

    def to_gpu(self: _Self, index: int = 0) -> _Self:
        """Move to the CUDA device ``index``; return the link."""
        return self.to_device(int(index))

    # State

    def reset_state(self) -> None:
        """Forget what is carried over time, here and in all links below."""
        for name in self.carried:
            setattr(self, name, None)
        for child in self.children():
            child.reset_state()

    def serialize(self, s: Any) -> None:
        """Save or load parameters and persistent values.

        A parameter that waits for its shape takes shape and type from the file.
        """
        for name, param in self._params.items():
            array = s(name, param.array)
            if s.loading and array is not param.array:
                param.array = None if array is None else self._device.send(array)
        for name in self._persistent:
            value = s(name, getattr(self, name))
            if s.loading:
                if backend.is_array(value):
                    value = self._device.send(value)
                setattr(self, name, value)
        for name, child in self._links.items():
            child.serialize(s[name])

    def serialize_state(self, s: Any) -> None:
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
        for name, child in self._links.items():
            child.serialize_state(s[name])


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

    def __init__(self, **links: Link) -> None:
        super().__init__()
        for name, link in links.items():
            self.add_link(name, link)

    def add_link(self, name: str, link: Link) -> None:
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

    def __getitem__(self, name: str) -> Any:
        if name not in self._links:
            names = ", ".join(self._links) or "none"
            raise KeyError(
                f"{type(self).__name__} has no child link {name!r}; there are: {names}"
            )
        return self._links[name]


class ChainList(Link):
    """A link with a list of child links, named ``"0"``, ``"1"``, ..."""

    def __init__(self, *links: Link) -> None:
        super().__init__()
        for link in links:
            self.append(link)

    def append(self, link: Link) -> None:
        """Add a child at the end."""
        if not isinstance(link, Link):
            raise TypeError(
                f"{type(self).__name__} holds links, not a {type(link).__name__}"
            )
        self._register(str(len(self._numbered())), link)

    add_link = append

    def _numbered(self):
        """Return the links of the list, without those assigned to attributes."""
        return [child for name, child in self._links.items() if name.isdigit()]

    def _elements(self):
        return self._numbered()

    def __len__(self) -> int:
        return len(self._elements())

    def __iter__(self) -> Iterator[Any]:
        return iter(self._elements())

    def __getitem__(self, index: int) -> Any:
        return self._elements()[index]


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

    def __init__(self, *layers: Callable) -> None:
        super().__init__()
        self._layers: tuple = ()  # functions, and names of the links
        for layer in layers:
            self.append(layer)

    def append(self, layer: Callable) -> None:
        """Add a link or a function at the end."""
        if not callable(layer):
            raise TypeError(
                f"Sequential holds links and functions, not a {type(layer).__name__}"
            )
        if isinstance(layer, Link):
            super().append(layer)
            layer = layer.name
        self._layers = (*self._layers, layer)

    @property
    def layers(self) -> list[Any]:
        """A list of the links and functions, in order."""
        return [self._links.get(layer, layer) for layer in self._layers]

    def forward(self, *xs: Any) -> Any:
        for layer in self.layers:
            xs = layer(*xs)
            if not isinstance(xs, tuple):
                xs = (xs,)
        return xs[0] if len(xs) == 1 else xs

    def _elements(self):
        return self.layers


def _fit(path, param, shape):
    if not param.is_initialized:
        param.initialize(shape)
    if param.shape != shape:
        raise ShapeError(
            f"parameter {path} has shape {param.shape}, but {shape} was given"
        )
