"""``chainer.print_runtime_info``: what there is to compute with."""

import contextlib
import io
import platform
import sys
import textwrap

import numpy as np

from dyrnn import version
from dyrnn.chainer import _version, chainerx_stub
from dyrnn.chainer.backends import cuda, intel64


class _RuntimeInfo:
    """Versions of the packages and of the platform; ``str`` makes lines of them."""

    def __init__(self):
        self.platform_version = platform.platform()
        self.chainer_version = _version.__version__
        self.dyrnn_version = version.__version__
        self.chainerx_available = chainerx_stub.is_available()
        self.numpy_version = np.__version__
        self.cuda_info = _cupy_config() if cuda.available else None
        self.ideep_version = "" if intel64.is_ideep_available() else None

    def __str__(self):
        cupy = "Not Available"
        if self.cuda_info is not None:
            cupy = "\n" + textwrap.indent(self.cuda_info.rstrip("\n"), "  ")
        rows = {
            "Platform": self.platform_version,
            "Chainer": f"{self.chainer_version} (dyrnn {self.dyrnn_version})",
            "ChainerX": "Available" if self.chainerx_available else "Not Available",
            "NumPy": self.numpy_version,
            "CuPy": cupy,
            "iDeep": self.ideep_version or "Not Available",
        }
        return "".join(f"{name}: {value}\n" for name, value in rows.items())


def _cupy_config():
    """Return what CuPy says about itself, its libraries and devices."""
    with contextlib.redirect_stdout(io.StringIO()) as text:
        cuda.cupy.show_config()
    return text.getvalue()


def _get_runtime_info():
    return _RuntimeInfo()


def print_runtime_info(out=None):
    """Print the versions of platform, NumPy and CuPy.

    Parameters
    ----------
    out : text file, optional
        By default ``sys.stdout``.
    """
    out = sys.stdout if out is None else out
    out.write(str(_get_runtime_info()))
    if hasattr(out, "flush"):
        out.flush()
