"""What wrote a file: versions, processor, threads, and the seed in use.

Bit-exact repetition holds for one machine, one NumPy build and one number of threads
(sums of parts are added in another order with two threads than with one), so a snapshot
says which ones made it. It names no host, user or time: equal contents, equal bytes.
"""

import os
import platform
import sys
from functools import lru_cache

import numpy as np

from dyrnn import kernels, random
from dyrnn.config import config
from dyrnn.version import __version__


@lru_cache(maxsize=1)
def _processor():
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            for line in lines:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor()


def environment():
    """Return the versions, processor, threads and seed in use, as a dictionary.

    ``threads`` are those of dyrnn's kernels, ``blas_threads`` those of each call of the
    BLAS within them, and ``kernels`` are "native" (in C) or "numpy".
    """
    blas = np.show_config(mode="dicts").get("Build Dependencies", {}).get("blas", {})
    return {
        "dyrnn": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "blas": f"{blas.get('name', '?')} {blas.get('version', '?')}",
        "threads": kernels.threads(),
        "blas_threads": kernels.blas_threads(),
        "kernels": kernels.form(),
        "platform": sys.platform,
        "machine": platform.machine(),
        "processor": _processor(),
        "processors": os.cpu_count(),
        "seed": random.get_seed(),
        "matmul_precision": config.matmul_precision,
    }
