"""Short forms of the searches in ``tools/``; docs/reliability.md has the long ones."""

import subprocess
import sys

import pytest

from tools import crash_states, fail_system_calls, fuzz_npz, kill_during_saves

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the tools need Linux")


def test_no_crash_state_loses_a_snapshot_and_each_planted_mistake_is_found():
    states, found, caught = crash_states.search()
    assert found == []
    assert states > 300
    assert caught.keys() == crash_states.MISTAKES.keys()
    assert all(caught.values())


def test_each_failing_system_call_raises_and_leaves_the_old_file():
    runs, wrong = fail_system_calls.search()
    assert wrong == []
    assert runs > 200


def test_kills_during_saves_lose_nothing_acknowledged():
    saves, _, wrong = kill_during_saves.search(8)
    assert wrong == []
    assert saves >= 8


@pytest.mark.parametrize("seed", [0, 1])
def test_mutated_files_are_refused_or_load_as_they_were(seed):
    outcomes, wrong, peak, slowest = fuzz_npz.search(2500, seed)
    assert wrong == []
    assert outcomes["refused"] > 2000
    assert peak < 64 << 20
    assert slowest < 1


@pytest.mark.parametrize(
    "command, message",
    [
        ("crash_states", " crash states, 0 with a snapshot lost or unreadable"),
        ("fail_system_calls", " saves with a failing system call, 0 problems"),
        ("fuzz_npz --count 50", "peak memory"),
        ("measure_save --megabytes 1 --repetitions 1", "1 MiB, fastest: save"),
    ],
)
def test_each_tool_is_one_command(command, message):
    arguments = [sys.executable, "-m", f"tools.{command.split()[0]}"]
    run = subprocess.run(
        arguments + command.split()[1:], capture_output=True, text=True, check=False
    )
    assert (run.returncode, run.stderr) == (0, "")
    assert message in run.stdout
