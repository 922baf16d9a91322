"""The text of the CUDA kernels, from the ``.cu`` files beside this one.

A module of kernels is one file with those that it includes, compiled by itself.
"""

import re
from importlib.resources import files

TYPES = ("float32", "float64", "float16")
MODULES = ("steps", "window", "losses", "rows", "masks", "many", "update")

# The rules of dyrnn.optimizers: k are the class's ``numbers``, s0 to s2 its states.
RULES = {
    "SGD": "p -= k[0] * g;",
    "MomentumSGD": "s0 = k[1] * s0 - k[0] * g; p += s0;",
    "NesterovAG": "s0 = k[1] * s0 - k[0] * g; p += k[1] * s0 - k[0] * g;",
    "AdaGrad": "s0 += g * g; p -= k[0] * g / (sqrt(s0) + k[1]);",
    "AdaDelta": """
        s0 = k[0] * s0 + (1 - k[0]) * g * g;
        g *= sqrt((s1 + k[1]) / (s0 + k[1]));
        s1 = k[0] * s1 + (1 - k[0]) * g * g;
        p -= g;""",
    "RMSprop": """
        s0 = k[1] * s0 + (1 - k[1]) * g * g;
        p -= k[0] * g / (sqrt(s0) + k[2]);""",
    "RMSpropGraves": """
        s0 = k[1] * s0 + (1 - k[1]) * g * g;
        s1 = k[1] * s1 + (1 - k[1]) * g;
        s2 = k[2] * s2 - k[0] * g / sqrt(s0 - s1 * s1 + k[3]);
        p += s2;""",
    "Adam": """
        s0 = k[1] * s0 + (1 - k[1]) * g;
        s1 = k[2] * s1 + (1 - k[2]) * g * g;
        A v = s1;
        if (table.s2[i]) { s2 = s2 > s1 ? s2 : s1; v = s2; }
        p = p * (1 - k[4]) - k[0] * s0 / (sqrt(v) + k[3]);""",
    "SMORMS3": """
        A r = 1 / (s0 + 1);
        s1 += r * (g - s1);
        s2 += r * (g * g - s2);
        A x = s1 * s1 / (s2 + k[1]);
        p -= g * (x < k[0] ? x : k[0]) / (sqrt(s2) + k[1]);
        s0 = s0 * (1 - x) + 1;""",
}


def source(module, dtype, **constants):
    """Return the text of a module for arrays of ``dtype``, with constants defined."""
    constants[str(dtype).upper()] = 1
    defines = "".join(f"#define {key} {value}\n" for key, value in constants.items())
    return defines + _text(f"{module}.cu")


def _text(name):
    text = files(__package__).joinpath(name).read_text(encoding="utf-8")
    return re.sub(r'^#include "(.+)"$', lambda m: _text(m[1]), text, flags=re.MULTILINE)
