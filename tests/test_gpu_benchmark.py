"""The benchmark on a GPU says so where there is none, and outlives what fails."""

import argparse
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from dyrnn import backend

SCRIPT = Path(__file__).resolve().parents[1] / "benchmarks" / "gpu.py"


@pytest.fixture(scope="module")
def gpu():
    spec = importlib.util.spec_from_file_location("gpu_benchmark", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.skipif(backend.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so_and_fails():
    command = [sys.executable, str(SCRIPT)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1 and done.stdout == ""
    assert "There is no GPU to measure" in done.stderr


def test_a_section_that_fails_or_takes_too_long_is_a_row(gpu):
    args = argparse.Namespace(device="bad", data=None)
    for name, seconds, what in (
        ("hardware", 60, "hardware: "),
        ("agreement", 60, "agreement: ValueError"),
        ("tests", 1, "tests: no time was left"),
    ):
        ((text, figure, _),) = gpu.run_section(name, args, seconds)
        assert text.startswith(what) and figure == "failed", text
    program = "import time; print('a row', flush=True); time.sleep(60)"
    with pytest.raises(gpu.Failed, match="took longer than 4 s") as caught:
        gpu.python(["-c", program], 4)
    assert caught.value.output == "a row\n"


def test_what_there_is_no_time_to_compare_is_named(gpu, monkeypatch, capsys):
    monkeypatch.setenv("DYRNN_BENCHMARK_UNTIL", "0")
    gpu.agreement(argparse.Namespace(device="-1"))
    output = capsys.readouterr().out
    assert "functions: no time from tanh on, repeat it" in output
    assert "links: no time from Linear on, repeat it" in output


def test_every_function_and_link_is_compared(gpu):
    args = argparse.Namespace(device="-1", data=None)  # the CPU with itself
    functions, links = gpu.run_section("agreement", args, 100)
    assert functions[0].split()[1] == "functions," and links[0].split()[1] == "links,"
    assert functions[1] == links[1] == "0.0e+00"
