"""Work is cut into parts that cover it once; errors and settings cross threads."""

import json
import os
import queue
import shutil
import subprocess
import sys
import threading
from functools import partial

import numpy as np
import pytest

from dyrnn import kernels
from dyrnn.config import config, using_config
from dyrnn.kernels import machine, native
from tools import fault_kernels

IMPORT_ALL = """
import ctypes, importlib, json, os, pkgutil
import numpy as np
import threadpoolctl

libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]

def state():
    block = libc.malloc(64 << 20)
    with open("/proc/self/maps") as lines:
        heap = [line.split()[0] for line in lines if line.endswith("[heap]\\n")]
    ends = [[int(end, 16) for end in part.split("-")] for part in heap]
    blas = [x for x in threadpoolctl.threadpool_info() if x["user_api"] == "blas"]
    return {
        "blas": [x["num_threads"] for x in blas if "numpy" in x["filepath"]],
        "affinity": sorted(os.sched_getaffinity(0)),
        "keeps memory": any(start <= block < end for start, end in ends),
    }

before = state()
import dyrnn
for module in pkgutil.walk_packages(dyrnn.__path__, "dyrnn."):
    if not module.name.endswith(("__main__", "cuda.nccl")):  # imports CuPy
        importlib.import_module(module.name)
imported = state()
threads = dyrnn.kernels.threads()
asked = state()
dyrnn.kernels.squared_norms([np.ones(3, np.float32)])
print(json.dumps([before, imported, asked, state(), threads]))
"""


def add_one(counts, part):
    counts[part] += 1


@pytest.fixture(params=[1, 2, 3])
def threads(request, monkeypatch):
    monkeypatch.setattr(machine, "threads", lambda: request.param)
    return request.param


@pytest.mark.parametrize("size", [0, 1, 2, 5, 64, 100])
@pytest.mark.parametrize("grain", [1, 16])
def test_parts_cover_the_range_once(threads, size, grain):
    counts = np.zeros(size)
    machine.parallel(partial(add_one, counts), size, grain)
    assert (counts == 1).all()
    assert len(machine.shares(size, grain)) <= threads


def test_an_error_in_any_part_reaches_the_caller(threads):
    for bad in range(4):

        def run(part, bad=bad):
            if part.start <= bad < part.stop:
                raise ValueError("in a part")

        with pytest.raises(ValueError, match="in a part"):
            machine.parallel(run, 4)


def test_parts_see_the_error_state_of_the_caller(threads):
    with np.errstate(divide="raise"), pytest.raises(FloatingPointError):
        machine.parallel(lambda part: np.log(np.zeros(part.stop - part.start)), 6)


def test_parallel_work_may_be_nested_and_concurrent(threads):
    counts = np.zeros((4, 6, 10))

    def outer(k):
        def run(part):
            for row in range(part.start, part.stop):
                line = counts[k, row]
                machine.parallel(partial(add_one, line), 10)

        machine.parallel(run, 6)

    callers = [threading.Thread(target=outer, args=(k,)) for k in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert (counts == 1).all()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_parallel_work_goes_on_in_a_forked_child(monkeypatch):
    monkeypatch.setattr(machine, "threads", lambda: 2)
    total = np.zeros(2)
    machine.parallel(partial(add_one, total), 2)
    child = os.fork()
    if child == 0:
        machine.parallel(partial(add_one, total), 2)
        os._exit(0 if (total == 2).all() else 1)
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_importing_dyrnn_changes_nothing_in_the_process():
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "2"}
    told = subprocess.check_output([sys.executable, "-c", IMPORT_ALL], env=environment)
    before, imported, asked, used, threads = json.loads(told)
    assert not before["keeps memory"]
    assert before == imported == asked
    assert used["keeps memory"] and used["affinity"] == before["affinity"]
    if before["blas"]:  # NumPy's own, as its wheels have it
        assert threads == max(before["blas"])
        assert used["blas"] == [1] * len(before["blas"])


def test_importing_dyrnn_leaves_the_environment():
    program = "import os; e = dict(os.environ); import dyrnn; print(e == os.environ)"
    assert subprocess.check_output([sys.executable, "-c", program]) == b"True\n"


def test_the_setting_says_how_many_threads_there_are():
    default = kernels.threads()
    for number in (1, 2, 5):
        with using_config("threads", number):
            assert kernels.threads() == number
            assert len(machine.shares(100)) == number
    assert config.threads is None and kernels.threads() == default


@pytest.mark.parametrize("number", [0, -1, 1.0, True, "2"])
def test_a_number_of_threads_that_is_none_is_refused(number):
    with pytest.raises(ValueError, match="config.threads is a number from 1 on, or No"):
        config.threads = number
    assert config.threads is None


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs affinity")
def test_a_worker_that_moved_may_run_anywhere_again(monkeypatch):
    monkeypatch.setattr(machine, "_current_cpu", lambda: 0)
    allowed = os.sched_getaffinity(0)
    machine._leave(0)
    assert os.sched_getaffinity(0) == allowed


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs affinity")
@pytest.mark.parametrize("refused", [1, 2])
def test_workers_go_on_where_affinity_is_refused(monkeypatch, refused):
    allowed, calls, set_affinity = os.sched_getaffinity(0), [], os.sched_setaffinity

    def refuse(pid, cpus):
        calls.append(cpus)
        if len(calls) == refused:
            raise PermissionError("seccomp")
        set_affinity(pid, cpus)

    monkeypatch.setattr(machine, "_may_move", True)
    monkeypatch.setattr(machine, "_current_cpu", lambda: 0)
    monkeypatch.setattr(os, "sched_setaffinity", refuse)
    machine._leave(0)
    assert os.sched_getaffinity(0) == allowed
    assert machine._may_move is (len(calls) < refused)


def test_parts_are_done_by_the_caller_if_no_thread_starts(monkeypatch):
    def fail(thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(machine, "threads", lambda: 4)
    monkeypatch.setattr(machine, "_jobs", queue.SimpleQueue())
    monkeypatch.setattr(machine, "_workers", 0)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", fail)
        counts = np.zeros(8)
        machine.parallel(partial(add_one, counts), 8)
        assert (counts == 1).all() and machine._workers == 0
    machine.parallel(partial(add_one, counts), 8)  # and they start when they can
    assert (counts == 2).all() and machine._workers == 3


AT_EXIT = """
import os
import numpy as np
import dyrnn
from dyrnn.kernels import machine, native
from tools import fault_kernels
dyrnn.config.threads = 4

def add_one(part, counts):
    counts[part] += 1

class Late:
    def __del__(self, np=np, parallel=machine.parallel, write=os.write):
        counts = np.zeros(8)
        parallel(lambda part: add_one(part, counts), 8)
        write(1, counts.tobytes()[6:8])

if STARTED:
    machine.parallel(lambda part: None, 8)
late = Late()
"""


@pytest.mark.parametrize("started", [False, True])
def test_a_kernel_runs_while_the_interpreter_ends(started):
    program = AT_EXIT.replace("STARTED", str(started))
    command = [sys.executable, "-c", program]
    assert subprocess.check_output(command, timeout=60) == np.float64(1).tobytes()[6:]


KEEP = """
import os, sys
import numpy as np
import dyrnn

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") >> 20

dyrnn.config.kept_memory = int(sys.argv[1])
dyrnn.kernels.prepare()
before = resident()
arrays = [np.ones(1 << 17) for _ in range(200)]  # 1 MB each
after = resident()
del arrays
kept = resident()
dyrnn.kernels.release_memory()
print(after - before, kept - before, resident() - before)
"""


@pytest.mark.skipif(
    sys.platform != "linux" or not machine._libc("malloc_trim"), reason="of glibc"
)
@pytest.mark.parametrize("megabytes", [0, 100])
def test_freed_memory_is_kept_up_to_the_setting_or_released(megabytes):
    command = [sys.executable, "-c", KEEP, str(megabytes)]
    used, kept, released = map(int, subprocess.check_output(command).split())
    assert used >= 195 and released <= 10
    assert kept <= megabytes + 20


@pytest.mark.parametrize("value", [-1, 1.5, True, None])
def test_an_amount_of_memory_that_is_none_is_refused(value):
    with pytest.raises(ValueError, match="config.kept_memory is a number of MB, not"):
        config.kept_memory = value
    assert config.kept_memory == 512


@pytest.mark.skipif(sys.platform != "linux", reason="of the C library of Linux")
@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
@pytest.mark.skipif(native.start()[0] is None, reason="no native kernels")
def test_nothing_hangs_without_threads(tmp_path):
    faults = {"FAULT_CREATE": "1", "FAULT_LENGTH": "1", "FAULT_SET": "0"}
    library = fault_kernels.compile_library(tmp_path)
    said, code = fault_kernels.run("alone", 3, 0, faults, library)
    first, *others = [line.split()[-1] for line in said]
    assert (code, first, len(set(others)), len(others)) == (0, "refused", 1, 2)
