"""Which public names of ``dyrnn`` and of ``dyrnn.chainer`` have two implementations.

``python -m tests.repertoires`` lists them. A name of both has one implementation if it
is the same object, or if what Chainer's name leads to, followed through the code that
it names, has in it what the core's name is made of: the object itself, a node of its
graph, or a formula of its file. A function must not lead to a node that is written in
``dyrnn.chainer``, too.
"""

import functools
import importlib
import inspect
import types

import dyrnn.functions as core_functions
from dyrnn import chainer
from dyrnn.chainer.worlds import CoreNode
from dyrnn.engine.core import FunctionNode

# Chainer's module: the core's.
PAIRS = {
    "functions": "functions",
    "links": "links",
    "optimizers": "optimizers",
    "optimizer_hooks": "optimizers.hooks",
    "initializers": "initializers",
    "iterators": "iterators",
    "datasets": "datasets",
    "training.extensions": "extensions",
    "training.triggers": "training.triggers",
}
# What makes the core's nodes Chainer's is not written a second time.
ADAPTERS = ("dyrnn.chainer.worlds", "dyrnn.chainer.bridging")
ENGINE = (chainer.FunctionNode, chainer.Function, CoreNode)
FOLLOWED = (
    *(f"dyrnn.chainer.{module}" for module in PAIRS),
    *(f"dyrnn.{module}" for module in PAIRS.values()),
    *ADAPTERS,
    "dyrnn.chainer.dataset",
    "dyrnn.training",
)


def public(module):
    """Return {name: object} of what a module offers, other modules aside."""
    names = getattr(module, "__all__", None) or vars(module)
    found = {name: getattr(module, name) for name in names if name[:1] != "_"}
    return {k: v for k, v in found.items() if not isinstance(v, types.ModuleType)}


def in_common(pairs=PAIRS):
    """Yield (path, Chainer's object, the core's) of each name that both have."""
    for theirs, ours in pairs.items():
        core = public(importlib.import_module(f"dyrnn.{ours}"))
        layer = public(importlib.import_module(f"dyrnn.chainer.{theirs}"))
        for name in sorted(core.keys() & layer.keys()):
            yield f"{theirs}.{name}", layer[name], core[name]


def named_twice(pairs=PAIRS):
    """Return the paths of the names with two implementations."""
    return [path for path, own, core in in_common(pairs) if not is_one(own, core)]


def is_one(own, core):
    """Return whether two objects of one name have one implementation."""
    if own is core:
        return True
    found = reached(own)
    has_own_node = inspect.isfunction(own) and any(map(is_own_node, found))
    return not has_own_node and not found.isdisjoint(made_of(core))


def is_own_node(thing):
    """Return whether a thing is a node of Chainer's engine with its own formulas."""
    if not inspect.isclass(thing) or thing in ENGINE:
        return False
    if issubclass(thing, CoreNode):  # its forward may prepare what the core's is given
        return thing.backward is not CoreNode.backward
    return issubclass(thing, ENGINE) and thing.__module__ not in ADAPTERS


def made_of(core):
    """Return what a name of the core is made of: its nodes, else its helpers."""
    module = inspect.unwrap(core).__module__
    found = {x for x in reached(core, followed=(module,)) if x.__module__ == module}
    if not inspect.isfunction(core):
        # A link is made of functions, too.
        everything, functions = reached(core), vars(core_functions).values()
        called = [x for x in everything if inspect.isfunction(x) and x in functions]
        return {core, *found, *called, *filter(is_node, everything)}
    nodes = set(filter(is_node, found)) or set(filter(is_node, reached(core)))
    return {core, *(nodes or found)}


def is_node(thing):
    return (
        inspect.isclass(thing)
        and issubclass(thing, FunctionNode)
        and thing is not FunctionNode
    )


def reached(thing, followed=FOLLOWED):
    """Return the functions and classes that a thing's code leads to, and itself."""
    found, waiting = set(), [thing]
    while waiting:
        thing = inspect.unwrap(waiting.pop())
        if thing in found:
            continue
        found.add(thing)
        if thing not in ENGINE and is_in(thing.__module__, followed):
            waiting += [x for x in named(thing) if is_definition(x)]
    return found


def is_in(module, rooms):
    return any(f"{module}.".startswith(f"{room}.") for room in rooms)


def is_definition(thing):
    """Return whether a thing is a function or a class of dyrnn."""
    return (inspect.isfunction(thing) or inspect.isclass(thing)) and is_in(
        thing.__module__, ("dyrnn",)
    )


def named(thing):
    """Yield what the code of a function or class names, tables looked through."""
    if inspect.isclass(thing):
        yield from thing.__bases__
        for value in vars(thing).values():
            yield from contents(value)
        return
    closure = inspect.getclosurevars(thing).nonlocals
    yield from contents([*closure.values(), *(thing.__defaults__ or ())])
    names = names_of(thing.__code__)
    for name in names:
        value = thing.__globals__.get(name)
        yield from contents(value)
        if isinstance(value, types.ModuleType):
            for attribute in names:
                yield from contents(vars(value).get(attribute))


def names_of(code):
    """Return the names in a function's code, and in the functions within."""
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names |= names_of(constant)
    return names


def contents(value):
    """Yield a value, or what is in it: a table, a method, a partial function."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple, set, frozenset)):
        for item in value:
            yield from contents(item)
    elif isinstance(value, (staticmethod, classmethod, types.MethodType)):
        yield from contents(value.__func__)
    elif isinstance(value, functools.partial):
        yield from contents([value.func, *value.args, *value.keywords.values()])
    elif isinstance(value, property):
        yield from contents([value.fget, value.fset])
    else:
        yield value


if __name__ == "__main__":
    print(*named_twice(), sep="\n")
