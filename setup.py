"""Install dyrnn: ``pip install .``, or ``pip install -e '.[dev]'`` to work on it.

The folder ``extensions`` at the top is a link to ``dyrnn/extensions``, which is what is
installed; nothing needs the link.
"""

import os
import re
import shutil
import sysconfig
from pathlib import Path

from setuptools import Extension, find_packages, setup

HERE = Path(__file__).parent

MPI = ["mpi4py", "mpich"]  # an MPI of one's own does as well as mpich
# files, the error function; six came with Chainer, so scripts import it
CHAINER = ["h5py", "scipy", "six"]
TEST = [
    *CHAINER,
    "mpi4py; sys_platform == 'linux'",
    "mpich; sys_platform == 'linux'",
    "pytest>=8",
    "pytest-xdist",
    "hypothesis",
    "setuptools>=77",
    "matplotlib",
    # compiles the CUDA kernels; needs no GPU
    "nvidia-cuda-nvrtc-cu12; sys_platform == 'linux' and platform_machine == 'x86_64'",
]

# Where they cannot be compiled, or DYRNN_NATIVE is 0, the kernels in NumPy run. The
# compiler fuses no product with a sum, so that all processors compute the same.
NATIVE = Extension(
    "dyrnn.kernels.native.compiled",
    ["dyrnn/kernels/native/compiled.c"],
    depends=[
        f"dyrnn/kernels/native/{name}.h"
        for name in ("kernels", "products", "rules", "types")
    ],
    extra_compile_args=(
        "-O3 -g0 -std=gnu11 -pthread -ffp-contract=off"
        " -fno-math-errno -fno-trapping-math"
    ).split(),
    extra_link_args=["-pthread"],
    libraries=["m"],
    optional=True,
)


def can_compile():
    """Whether there is a C compiler like GCC, and kernels in C are wanted."""
    compiler = os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc"
    is_wanted = os.environ.get("DYRNN_NATIVE") != "0" and os.name == "posix"
    return is_wanted and shutil.which(compiler.split()[0]) is not None


def version():
    """Return ``dyrnn.__version__`` without importing dyrnn (and NumPy)."""
    text = (HERE / "dyrnn/version.py").read_text(encoding="utf-8")
    return re.search(r'^__version__ = "(.+)"$', text, re.MULTILINE).group(1)


setup(
    name="dyrnn",
    version=version(),
    description="Define-by-run recurrent neural networks, in Python on NumPy or CuPy",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    author="dyrnn authors",
    packages=find_packages(include=["dyrnn", "dyrnn.*"]),
    package_data={"dyrnn": ["py.typed"], "dyrnn.kernels.cuda": ["*.cu"]},
    ext_modules=[NATIVE] if can_compile() else [],
    python_requires=">=3.10",
    install_requires=["numpy>=2.0,<3", "threadpoolctl>=3.1", "tqdm"],
    extras_require={
        "gpu": ["cupy-cuda12x>=14"],
        "plot": ["matplotlib"],
        "tensorboard": ["tensorboardX"],
        "digits": ["scikit-learn"],
        "chainer": CHAINER,
        "keras": ["h5py"],
        "mpi": MPI,
        "test": TEST,
        "dev": [*TEST, "coverage", "mypy", "ruff"],
        "docs": ["sphinx>=8", "myst-parser>=4", "furo", "sphinx-copybutton"],
    },
    keywords="recurrent neural networks, RNN, LSTM, GRU, language models, Chainer",
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Developers",
        "Intended Audience :: Education",
        "Intended Audience :: Science/Research",
        "Operating System :: OS Independent",
        "Programming Language :: C",
        "Programming Language :: Python :: 3 :: Only",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    ],
)
