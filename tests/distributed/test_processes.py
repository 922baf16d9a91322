"""Several processes under mpiexec train as one process with the whole batch does."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from dyrnn.config import using_config
from tests.distributed import work

ROOT = Path(__file__).resolve().parents[2]
BESIDE = os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", "")])
LAUNCHER = shutil.which("mpiexec", path=BESIDE)
LIMIT = 60  # seconds, far above what any of these takes

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("mpi4py") is None or LAUNCHER is None,
    reason="needs mpi4py and an MPI library: pip install '.[mpi]'",
)


def start(processes, *arguments):
    """Run ``python -m ARGUMENTS`` so often; return the exit code and the output."""
    command = [sys.executable, "-m", *map(str, arguments)]
    if processes:
        command = [LAUNCHER, "-n", str(processes), *command]
    environment = dict(os.environ, OPENBLAS_NUM_THREADS="1", PYTHONPATH=str(ROOT))
    if processes and "Open MPI" in version():
        environment.update(PRTE_MCA_rmaps_default_mapping_policy=":oversubscribe")
        environment.update(
            OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1"
        )
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=LIMIT,
    )
    return done.returncode, done.stdout + done.stderr


def version():
    return subprocess.run(
        [LAUNCHER, "--version"], capture_output=True, text=True
    ).stdout


CASES = [
    {"case": "window", "tracks": 5},
    {"case": "window", "tracks": 4, "optimizer": "Adam", "cell": "GRU"},
    {"case": "ignored", "tracks": 5, "optimizer": "MomentumSGD"},
    {"case": "step", "tracks": 5},
    {"case": "ignored steps", "tracks": 5},
    {"case": "sums", "tracks": 5},
    {"case": "statistics", "tracks": 8},
    {"case": "examples", "tracks": 5},
    {"case": "loop", "tracks": 4},
    {"case": "short", "tracks": 6, "updates": 17},
    {"case": "short", "tracks": 6, "updates": 6, "accumulate": 3},
    {"case": "ignored", "tracks": 5, "accumulate": 2},
    {"case": "sums", "tracks": 5, "accumulate": 3},
]


@pytest.fixture(scope="module", params=[2, 4])
def results(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("work") / "results.json"
    code, output = start(
        request.param, "tests.distributed.work", json.dumps(CASES), path
    )
    assert code == 0, output
    assert f"{request.param} processes on 1 machine" in output
    return json.loads(path.read_text())


@pytest.mark.parametrize("number", range(len(CASES)))
def test_processes_train_as_one_with_the_whole_batch(results, number):
    with using_config("dtype", "float64"):
        alone = work.train(None, **CASES[number])
    found = results[number]
    assert len(set(found["digests"])) == 1
    if CASES[number]["case"] == "statistics":
        return  # each process normalizes by its part of the batch
    np.testing.assert_allclose(
        found["parameters"], alone["parameters"], rtol=0, atol=1e-14
    )
    for row, expected in zip(found["seen"], alone["seen"], strict=True):
        assert [x is None for x in row] == [x is None for x in expected]
        np.testing.assert_allclose(
            [x for x in row if x is not None],
            [x for x in expected if x is not None],
            rtol=1e-12,
        )
    assert found["count"] == alone["count"]


def run(processes, out, *options):
    return start(processes, "tests.distributed.faults", "--out", out, *options)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The output of a run of two processes that nothing happened to."""
    code, output = run(2, tmp_path_factory.mktemp("whole"))
    assert code == 0, output
    return output


def last(output):
    return next(line for line in output.splitlines() if line.startswith("40 "))


def test_killed_run_is_resumed_exactly_and_goes_on_with_other_numbers(tmp_path, whole):
    code, output = run(2, tmp_path / "two", "--kind", "kill", "--at", 23)
    assert code != 0
    for other in ("three", "one"):
        shutil.copytree(tmp_path / "two", tmp_path / other)
    code, output = run(2, tmp_path / "two")
    assert (code, last(output)) == (0, last(whole))
    assert "iter_00000020.npz" in output
    code, output = run(3, tmp_path / "three")
    assert code == 0, output
    assert "a training by 2 processes, this is one by 3" in output
    code, output = run(0, tmp_path / "one")
    assert code == 0, output
    assert "a training by 2 processes, this is one by 1" in output


def test_what_was_not_sent_is_in_the_snapshot(tmp_path):
    options = ["--largest", 0.1]
    code, whole = run(2, tmp_path / "whole", *options)
    assert code == 0, whole
    code, output = run(2, tmp_path / "two", *options, "--kind", "kill", "--at", 8)
    assert code != 0
    shutil.copytree(tmp_path / "two", tmp_path / "one")
    code, output = run(2, tmp_path / "two", *options)
    assert (code, last(output)) == (0, last(whole))
    code, output = run(0, tmp_path / "one", *options)
    assert code == 0, output
    assert "parts of gradients that were not sent yet" in output.replace("\n", " ")


@pytest.mark.parametrize(
    ("kind", "cause"),
    [
        ("exception", "rank 1 of 2 .* failed: ValueError: a fault of the test"),
        ("nan", "rank 1: .*NaN"),
        ("exit", "rank 1 of 2 .* ended after what follows update 12"),
        ("stop", "rank 1 of 2 .* has been silent"),
        ("loop", r"rank 1 of 2 .* has computed .* at faults.py:\d+"),
        ("term", "SIGTERM"),
    ],
)
def test_a_fault_of_one_process_ends_all_and_is_named(tmp_path, kind, cause):
    before = time.monotonic()
    code, output = run(2, tmp_path, "--kind", kind, "--deadline", 1.5)
    assert code != 0
    assert re.search(cause, output), output
    assert time.monotonic() - before < LIMIT
    if kind == "term":
        assert code == 143
        assert "to go on from iteration 13" in output
