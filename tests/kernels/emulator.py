"""A machine that runs the text of the CUDA kernels on the host, compiled by g++.

It stands where :class:`dyrnn.kernels.cuda.device.Gpu` does, with NumPy, or the strict
stand-in for CuPy, as its array module. What it shows is that the text, and the code
that calls it, compute what they should; not that a GPU's memory model or speed agree
with that.
Arguments are checked against the signatures.
"""

import ctypes
import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np

from dyrnn.config import config
from dyrnn.kernels.cuda.sources import source
from tests import strict

HEADER = Path(__file__).with_name("emulator.h").read_text(encoding="utf-8")
COMPILER = shutil.which("g++")


class Emulator:
    """As few processors as make blocks wait for each other; memory to be cut short."""

    index = 0

    def __init__(self, folder):
        self.folder = folder
        self.reset()

    def reset(self, processors=3, resident=100, shared_memory=1 << 16, xp=np):
        self.xp = xp
        self.processors = processors
        self.resident = resident
        self.shared_memory = shared_memory
        self.plans = {}
        self.launches = []

    def function(self, module, name, dtype, **constants):
        return name, source(module, dtype, **constants)

    def _library(self, text):
        names = re.findall(
            r"^KERNEL (?:BOUND\(\w+\) )?void\s+(\w+)\(", text, re.MULTILINE
        )
        text = "\n".join([HEADER, text, *(f"EXPORT({name})" for name in names)])
        path = self.folder / (hashlib.sha256(text.encode()).hexdigest()[:20] + ".so")
        if not path.exists():
            made = path.with_suffix(f".{os.getpid()}")
            code = made.with_suffix(made.suffix + ".cpp")
            code.write_text(text, encoding="utf-8")
            command = [COMPILER, "-std=c++17", "-O0", "-shared", "-fPIC", "-w"]
            subprocess.run([*command, str(code), "-o", str(made)], check=True)
            made.rename(path)
        return ctypes.CDLL(str(path))

    def launch(self, function, blocks, threads, args, shared=0, together=False):
        name, text = function
        library = self._library(text)
        kinds = getattr(library, "kinds_" + name)
        kinds.restype = ctypes.c_char_p
        kinds = kinds()
        assert len(kinds) == len(args), (name, kinds, len(args))
        values = [_passed(*pair) for pair in zip(kinds, args, strict=True)]
        pointers = (ctypes.c_void_p * len(values))(*(v.ctypes.data for v in values))
        self.launches.append(name)
        run = getattr(library, "launch_" + name)
        run.restype = ctypes.c_char_p
        fault = run(blocks, threads, shared, together, pointers)
        assert fault is None, (name, fault)

    def resident_blocks(self, function, threads, shared):
        assert threads <= 1024 and shared <= self.shared_memory
        return self.resident

    def multiply(self, shape, a, b, c, keep):
        """Do what cuBLAS does, from the addresses and strides that it is given."""
        m, n, k = shape
        precision = config.matmul_precision

        def matrix(array, rows, columns, stride):
            array = _host(array)
            strides = array.itemsize, stride * array.itemsize
            return np.lib.stride_tricks.as_strided(array, (rows, columns), strides)

        def factor(array, is_transposed, stride, rows, columns):
            if is_transposed:
                x = matrix(array, columns, rows, stride).T
            else:
                x = matrix(array, rows, columns, stride)
            assert stride >= (columns if is_transposed else rows)
            if x.dtype == np.float16:
                return x.astype(np.float32)
            if x.dtype == np.float32 and precision == "bfloat16":
                return to_bfloat16(x)
            return x

        result = matrix(c[0], m, n, c[1])
        product = factor(*a, m, k) @ factor(*b, k, n)
        result[...] = product if keep == 0 else product + keep * result
        self.launches.append("product")

    @staticmethod
    def address(array):
        return _host(array).ctypes.data


def to_bfloat16(x):
    """Round float32 to the nearest bfloat16, ties to even."""
    bits = np.ascontiguousarray(x).view(np.uint32)
    bits = (bits + 0x7FFF + (bits >> 16 & 1)) & np.uint32(0xFFFF0000)
    return bits.view(np.float32)


def _host(array):
    return array._array if isinstance(array, strict.ndarray) else array


def _passed(kind, value):
    """Return an array that holds an argument as the kernel takes it."""
    if kind < 128:
        value = np.asarray(value)
        assert value.size == 1 and _letter(value) == chr(kind), (chr(kind), value)
        return value
    if value is None:
        return np.zeros(1, np.uint64)
    value = _host(value)
    assert isinstance(value, np.ndarray), type(value)
    letter = chr(kind - 128)
    assert letter in ("*", _letter(value)), (letter, value.dtype)
    return np.array([value.ctypes.data], np.uint64)


def _letter(value):
    return "q" if value.dtype == np.int64 else value.dtype.char
