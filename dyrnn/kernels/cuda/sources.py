"""The text of the CUDA kernels, from the ``.cu`` files beside this one.

A module of kernels is one file with those that it includes, compiled by itself.
"""

import re
from importlib.resources import files

TYPES = ("float32", "float64", "float16")
MODULES = ("steps", "window", "losses", "rows", "masks", "many", "update")


def source(module, dtype, **constants):
    """Return the text of a module for arrays of ``dtype``, with constants defined."""
    constants[str(dtype).upper()] = 1
    defines = "".join(f"#define {key} {value}\n" for key, value in constants.items())
    return defines + _text(f"{module}.cu")


def _text(name):
    text = files(__package__).joinpath(name).read_text(encoding="utf-8")
    return re.sub(r'^#include "(.+)"$', lambda m: _text(m[1]), text, flags=re.MULTILINE)
