"""How a kernel finds its fastest form for the arrays it is given."""

import functools
import importlib
import importlib.util
import inspect

import numpy as np

from dyrnn.backend import get_array_module
from dyrnn.config import config
from dyrnn.kernels import native
from dyrnn.kernels.machine import prepare


def place_of(x):
    """Return which forms take an array, or a list that begins with one.

    For NumPy's float32 and float64 ``"native"``, or with ``config.native`` off
    ``"cpu"``, for CuPy's arrays ``"cuda"``, and ``"plain"`` for all others: halves on
    the CPU, modules made known by :func:`dyrnn.backend.register_array_module`.
    """
    if type(x) is np.ndarray:
        if x.dtype.char not in "fd":
            return "plain"
        return "native" if config.native else "cpu"
    if isinstance(x, (list, tuple)):
        return place_of(x[0])
    return "cuda" if get_array_module(x).__name__ == "cupy" else "plain"


def kernel(array):
    """Make a plain definition a kernel, which runs faster where there is a faster form.

    The forms of a function in ``kernels/TOPIC.py`` are those of its name in
    ``kernels/native/TOPIC.py``, ``kernels/cpu/TOPIC.py`` and ``kernels/cuda/TOPIC.py``.
    One that returns NotImplemented leaves its arguments to the next, native to cpu and
    all to the definition, which a test finds as the kernel's ``__wrapped__``.

    Parameters
    ----------
    array : str
        The argument whose type tells where the arrays are.
    """

    def decorate(plain):
        position = list(inspect.signature(plain).parameters).index(array)
        forms = {"plain": plain}

        @functools.wraps(plain)
        def run(*args, **options):
            place = place_of(args[position])
            while True:
                form = forms.get(place)
                if form is None:
                    form = forms[place] = find(plain, place)
                result = form(*args, **options)
                if result is not NotImplemented:
                    return result
                place = "cpu" if place == "native" else "plain"

        return run

    return decorate


def find(plain, place):
    """Return the form of a definition for a place, or the definition.

    Where the kernels in C do not run, their place has NumPy's.
    """
    if place in ("cpu", "native"):
        prepare()
    package, _, topic = plain.__module__.rpartition(".")
    places = {"native": ("native", "cpu") if native.start()[0] else ("cpu",)}
    for each in places.get(place, (place,)):
        name = f"{package}.{each}.{topic}"
        if importlib.util.find_spec(name) is not None:
            form = getattr(importlib.import_module(name), plain.__name__, None)
            if form is not None:
                return form
    return plain
