"""The machine the CUDA kernels run on, and what their callers share.

Kernels are compiled by NVRTC at first use, one module for each kind of kernel and
dtype, and kept on disk by CuPy; products are cuBLAS's. Nothing waits for the device.
"""

from functools import lru_cache

import numpy as np

from dyrnn.config import config
from dyrnn.kernels.cuda.sources import TYPES, source

# CuPy's names of the types that cuBLAS multiplies, and of what it may round them to.
_DATA_TYPES = {"e": "CUDA_R_16F", "f": "CUDA_R_32F", "d": "CUDA_R_64F"}
_COMPUTE_TYPES = {
    "float32": "CUBLAS_COMPUTE_32F",
    "tf32": "CUBLAS_COMPUTE_32F_FAST_TF32",
    "bfloat16": "CUBLAS_COMPUTE_32F_FAST_16BF",
}
_CHARACTERS = {np.dtype(name).char for name in TYPES}


class Gpu:
    """The current CUDA device, through CuPy."""

    def __init__(self):
        import cupy

        self.xp = cupy
        self.plans = {}
        self._kernels = {}

    def function(self, module, name, dtype, **constants):
        """Return a kernel, compiled if it was not yet."""
        key = module, name, dtype.char, *constants.items()
        if key not in self._kernels:
            text = source(module, dtype, **constants)
            self._kernels[key] = self.xp.RawKernel(text, name)
        return self._kernels[key]

    def launch(self, function, blocks, threads, args, shared=0, together=False):
        """Start a kernel; ``together``: all blocks at once, so that they may wait."""
        if shared > 48 << 10 and function.max_dynamic_shared_size_bytes < shared:
            function.max_dynamic_shared_size_bytes = shared
        kernel = function.kernel  # not via RawKernel, whose flag wants a toolkit
        kernel(
            (blocks,),
            (threads,),
            args,
            shared_mem=shared,
            enable_cooperative_groups=together,
        )

    def resident_blocks(self, function, threads, shared):
        """Return how many blocks of a kernel fit on the device at once."""
        from cupy_backends.cuda.api import driver

        if shared > 48 << 10:
            function.max_dynamic_shared_size_bytes = shared
        per_processor = driver.occupancyMaxActiveBlocksPerMultiprocessor(
            function.kernel.ptr, threads, shared
        )
        return per_processor * self.processors

    def multiply(self, shape, a, b, c, keep):
        """Set c to a b, plus what it was times ``keep``, by columns as cuBLAS does.

        ``shape`` is (rows of c, columns of c, columns of a); a and b are each an array,
        whether it is to be transposed, and the stride of its columns; c has an array
        and a stride.
        """
        from cupy_backends.cuda.api import runtime
        from cupy_backends.cuda.libs import cublas

        (a, a_flag, a_stride), (b, b_flag, b_stride), (c, c_stride) = a, b, c
        dtype = c.dtype.char
        if dtype == "d":
            compute, scalars = cublas.CUBLAS_COMPUTE_64F, np.float64
        else:
            precision = config.matmul_precision if dtype == "f" else "float32"
            compute, scalars = getattr(cublas, _COMPUTE_TYPES[precision]), np.float32
        data_type = getattr(runtime, _DATA_TYPES[dtype])
        factors = np.array([1, keep], scalars)
        address = factors.ctypes.data
        cublas.gemmEx(
            *(self.xp.cuda.device.get_cublas_handle(), a_flag, b_flag, *shape),
            *(address, a.data.ptr, data_type, a_stride),
            *(b.data.ptr, data_type, b_stride),
            *(address + factors.itemsize, c.data.ptr, data_type, c_stride),
            *(compute, cublas.CUBLAS_GEMM_DEFAULT_TENSOR_OP),
        )

    @property
    def index(self):
        """Number of the current device."""
        return self.xp.cuda.runtime.getDevice()

    @property
    def processors(self):
        """Number of its multiprocessors."""
        return self.xp.cuda.Device().attributes["MultiProcessorCount"]

    @property
    def shared_memory(self):
        """Bytes of shared memory that a block may have."""
        attributes = self.xp.cuda.Device().attributes
        return attributes["MaxSharedMemoryPerBlockOptin"]

    @staticmethod
    def address(array):
        """Return where the elements of an array are."""
        return array.data.ptr


@lru_cache(maxsize=1)
def machine():
    """Return the machine that the kernels run on."""
    return Gpu()


def launch(module, name, dtype, blocks, threads, args, shared=0, **constants):
    """Start a kernel of a module, see :mod:`dyrnn.kernels.cuda.sources`."""
    gpu = machine()
    function = gpu.function(module, name, dtype, **constants)
    gpu.launch(function, blocks, threads, arguments(args), shared)


def arguments(args):
    """Give Python's numbers the types of the kernels': int, double."""
    types = {int: np.int32, bool: np.int32, float: np.float64}
    return tuple(types[type(x)](x) if type(x) in types else x for x in args)


def works_on(*arrays):
    """Whether there are kernels for the arrays' type, and they may be written to."""
    return is_known(arrays[0].dtype) and all(
        a.flags.c_contiguous and a.dtype == arrays[0].dtype for a in arrays
    )


def is_known(dtype):
    """Whether there are kernels for a type."""
    return dtype.char in _CHARACTERS


def dense(*arrays):
    """Return the arrays with their elements in order; None stays."""
    xp = machine().xp
    return [None if a is None else xp.ascontiguousarray(a) for a in arrays]


def integers(ids):
    """Return ids as the kernels take them, and whether they have 64 bits."""
    if ids.dtype not in (np.int32, np.int64):
        ids = ids.astype(np.int64)
    (ids,) = dense(ids)
    return ids, ids.dtype == np.int64


def wide(dtype):
    """Return the type to compute in."""
    return np.dtype(np.float64 if dtype == np.float64 else np.float32)
