"""The compiler of a GPU takes every kernel, for every type; no GPU is needed for that.

The compiler is NVRTC from the package ``nvidia-cuda-nvrtc-cu12``, as CuPy uses it.
"""

import ctypes
import importlib.util
import re
from pathlib import Path

import pytest

from dyrnn import optimizers
from dyrnn.kernels.cuda.recurrent import fits
from dyrnn.kernels.cuda.sources import MODULES, TYPES, source
from dyrnn.kernels.cuda.updates import rule_constants

ARCHITECTURE = b"sm_90"
STACK = re.compile(r"(\d+) bytes stack frame")


def library():
    spec = importlib.util.find_spec("nvidia")
    for folder in spec.submodule_search_locations if spec else ():
        for path in sorted(Path(folder).glob("*/lib/libnvrtc.so.*")):
            return ctypes.CDLL(str(path))
    return None


NVRTC = library()
pytestmark = pytest.mark.skipif(
    NVRTC is None, reason="needs the package nvidia-cuda-nvrtc-cu12"
)


def compiled(text):
    """Return whether the text compiles, and what the compiler says."""
    program = ctypes.c_void_p()
    created = NVRTC.nvrtcCreateProgram(
        ctypes.byref(program), text.encode(), b"kernels.cu", 0, None, None
    )
    assert created == 0
    options = [
        b"--gpu-architecture=" + ARCHITECTURE,
        b"--std=c++14",  # the oldest default of CuPy
        b"--ptxas-options=-v",
    ]
    result = NVRTC.nvrtcCompileProgram(
        program, len(options), (ctypes.c_char_p * len(options))(*options)
    )
    size = ctypes.c_size_t()
    NVRTC.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    log = ctypes.create_string_buffer(size.value)
    NVRTC.nvrtcGetProgramLog(program, log)
    NVRTC.nvrtcDestroyProgram(ctypes.byref(program))
    return result == 0, log.value.decode()


OPTIMIZERS = [
    each() for each in vars(optimizers).values() if getattr(each, "rule", None)
]
OPTIMIZERS.append(optimizers.Adam(amsgrad=True))
RULES = [(o.cuda, list(o.states), list(o.numbers(1))) for o in OPTIMIZERS if o.cuda]


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("module", MODULES)
def test_every_kernel_compiles(module, dtype):
    constants = [{}]
    if module == "window":
        packed = (0, 1) if dtype == "float32" else (0,)
        fixed = {"K": 7, "THREADS": 256, "RELU": 0}
        constants = [
            {**fixed, "GATES": n, "PACKED": p, "VECTOR": width}
            for n in (1, 3, 4)
            for p in packed
            for width in ((1, 2, 4) if dtype != "float64" else (1,))
        ]
    if module == "update":
        constants = [rule_constants(text, *names) for text, *names in RULES]
    for each in constants:
        is_good, log = compiled(source(module, dtype, **each))
        assert is_good, log
        assert set(STACK.findall(log)) == {"0"}, log  # all numbers are in registers


@pytest.mark.parametrize("threads", [256, 384, 512])
@pytest.mark.parametrize(
    ("dtype", "packed"), [*((t, 0) for t in TYPES), ("float32", 1)]
)
def test_the_largest_windows_keep_their_matrix_in_registers(dtype, packed, threads):
    width = 2 if packed else 8 if dtype == "float64" else 4
    K = max(K for K in range(1, 65) if fits(threads, K, 4, width))
    constants = {"K": K, "PACKED": packed, "THREADS": threads, "RELU": 0}
    constants["VECTOR"] = 4 if dtype != "float64" else 1
    for gates in (1, 4):
        is_good, log = compiled(source("window", dtype, GATES=gates, **constants))
        assert is_good, log
        outside = [int(n) for n in STACK.findall(log)]
        assert len(outside) == 2  # one for each kernel
        assert max(outside) <= 56  # addresses, not the matrix, nor the sums


def test_an_error_in_a_kernel_is_found():
    is_good, log = compiled(
        source("losses", "float32") + "\nDEVICE A f() { return y; }"
    )
    assert not is_good and 'identifier "y" is undefined' in log
