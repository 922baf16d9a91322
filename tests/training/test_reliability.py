"""Short forms of the searches in ``tools/``; docs/reliability.md has the long ones."""

import re
import subprocess
import sys

import pytest

from dyrnn.engine.core import Variable
from tools import (
    interrupt_training,
    kill_and_resume,
    measure_growth,
    repeat_runs,
    resume_everywhere,
)
from tools.small_training import language_updater

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")


def test_every_optimizer_resumes_exactly():
    runs, problems = resume_everywhere.search(cuts=(23,), separately=False)
    assert problems == []
    assert runs == 4 * len(resume_everywhere.OPTIMIZERS) >= 44


def test_each_part_resumes_exactly_on_its_own(tmp_path):
    for part in resume_everywhere.PARTS:
        assert check(tmp_path / part.replace("/", "-"), [part]) == []


def test_layers_that_are_cut_between_threads_resume_exactly(tmp_path, monkeypatch):
    def large(optimizer):
        return language_updater(optimizer, window=True, units=200)

    monkeypatch.setitem(resume_everywhere.UPDATERS, "large", large)
    assert resume_everywhere.check(str(tmp_path), "SGD", "large", [], [50]) == []


def check(folder, parts, cut=23):
    folder.mkdir(exist_ok=True)
    return resume_everywhere.check(str(folder), "Adam", "BPTT by window", parts, [cut])


# What a snapshot may forget: each must show.
FORGOTTEN = {
    "carried state": "dyrnn.links.LSTM.serialize_state",
    "random numbers": "dyrnn.random.serialize",
    "optimizer": "dyrnn.optimizers.optimizer.Optimizer.serialize",
    "place in the text": "dyrnn.iterators.ParallelSequentialIterator.serialize",
    "OnceTrigger": "dyrnn.training.triggers.OnceTrigger.serialize",
    "best value": "dyrnn.training.triggers.BestValueTrigger.serialize",
    "early stop": "dyrnn.training.triggers.EarlyStoppingTrigger.serialize",
    "log": "dyrnn.extensions.LogReport.serialize",
    "shift": "dyrnn.extensions.LinearShift.serialize",
}


@pytest.mark.parametrize("what", FORGOTTEN)
def test_what_a_snapshot_forgets_is_found(tmp_path, monkeypatch, what):
    monkeypatch.setattr(FORGOTTEN[what], lambda *_: None)
    assert check(tmp_path, list(resume_everywhere.PARTS)) == [23]


def test_killed_runs_resume_exactly():
    reached, wrong = kill_and_resume.search(3)
    assert wrong == []
    assert len(reached) == 3


def test_signals_save_and_end_training():
    reached, seconds, problems = interrupt_training.search(2)
    assert problems == []
    assert len(reached) == len(seconds) == 2


def test_equal_seeds_give_equal_bytes_and_others_do_not():
    first, second = repeat_runs.search(2)
    assert first == second
    assert repeat_runs.search(1, "--seed", "1") != [first]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_does_not_grow():
    command = [sys.executable, "-m", "tools.measure_growth", "--updates", "8000"]
    command += ["--first", "4000"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (0, ""), run.stdout
    assert re.search("after the first 4000 of 8000 updates; constant", run.stdout)


def test_graph_that_is_not_cut_is_found(monkeypatch):
    monkeypatch.setattr(Variable, "unchain_backward", lambda self: None)
    measured = measure_growth.measure(40, 10, window=True)
    nodes = [counts[0] for _, _, counts in measured]
    assert nodes[-1] >= nodes[0] + 30
