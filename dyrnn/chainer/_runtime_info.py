"""``chainer.print_runtime_info``: what there is to compute with."""

import contextlib
import io
import platform
import sys
import textwrap

import numpy as np

from dyrnn import version
from dyrnn.chainer import _version
from dyrnn.chainer.backends import cuda


def print_runtime_info(out=None):
    """Print the versions of platform, NumPy and CuPy.

    Parameters
    ----------
    out : text file, optional
        By default ``sys.stdout``.
    """
    cupy = "Not Available"
    if cuda.available:
        with contextlib.redirect_stdout(io.StringIO()) as text:
            cuda.cupy.show_config()
        cupy = "\n" + textwrap.indent(text.getvalue().rstrip("\n"), "  ")
    rows = {
        "Platform": platform.platform(),
        "Chainer": f"{_version.__version__} (dyrnn {version.__version__})",
        "ChainerX": "Not Available",
        "NumPy": np.__version__,
        "CuPy": cupy,
        "iDeep": "Not Available",
    }
    for name, value in rows.items():
        print(f"{name}: {value}", file=out or sys.stdout, flush=True)
