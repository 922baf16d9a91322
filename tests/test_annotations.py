"""What a user calls is annotated, so that an editor and a checker can help."""

import importlib
import inspect
from types import FunctionType

import pytest

ROOMS = """functions links link optimizers optimizers.hooks iterators datasets
    extensions training initializers sampling prediction metrics"""


def unannotated(function):
    """Name the parameters without annotation, and ``return`` if that has none."""
    signature = inspect.signature(function)
    for name, parameter in signature.parameters.items():
        if name != "self" and parameter.annotation is inspect.Parameter.empty:
            yield name
    takes_arguments = signature.parameters.keys() - {"self"}
    if signature.return_annotation is inspect.Signature.empty:
        if function.__name__ != "__init__" or takes_arguments:
            yield "return"


def called(value):
    """What a user calls of a public name: itself, or how to make and apply it."""
    if isinstance(value, FunctionType):
        yield value
    elif isinstance(value, type):
        for name in ("__init__", "forward"):
            method = getattr(value, name, None)
            if isinstance(method, FunctionType):
                yield method


def missing(names):
    for public, value in names.items():
        for function in called(value):
            for name in unannotated(function):
                yield f"{public}: {function.__qualname__} does not annotate {name}"


@pytest.mark.parametrize("room", ROOMS.split())
def test_what_a_user_calls_is_annotated(room):
    module = importlib.import_module(f"dyrnn.{room}")
    names = {
        name: value
        for name, value in vars(module).items()
        if not name.startswith("_")
        and getattr(value, "__module__", "").startswith(module.__name__)
    }
    assert names
    found = list(missing(names))
    assert not found, "\n".join(found)


def bare(x, *, axis: int = 0):
    return x


class Layer:
    def __init__(self, size: int):
        self.size = size

    def forward(self, x: int, *states) -> int:
        return x


def test_an_offender_is_found():
    assert list(missing({"bare": bare, "Layer": Layer})) == [
        "bare: bare does not annotate x",
        "bare: bare does not annotate return",
        "Layer: Layer.__init__ does not annotate return",
        "Layer: Layer.forward does not annotate states",
    ]
