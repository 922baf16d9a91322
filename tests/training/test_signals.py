"""Signals, in processes of their own."""

import os
import re
import signal
import subprocess
import sys
import threading

import pytest

from dyrnn.extensions import LogReport, read_log, snapshot
from dyrnn.serializers import list_snapshots
from dyrnn.training import Trainer, TrainingInterrupted, make_extension
from tests.arrays import every_device, xp
from tests.training.toys import FakeUpdater, language_trainer, parameters, seeded

SCRIPT = """
import sys, time
import tests.training.toys as toys
from dyrnn.extensions import LogReport, snapshot

out, stop, first, mode = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
trainer = toys.language_trainer(out, (stop, "iteration"), dropout=0.2)
trainer.extend(snapshot(autoload=True, on_signal=True), trigger=(1000, "iteration"))
trainer.extend(LogReport(trigger=(7, "iteration")))

def ready(trainer):
    if mode == "hang" and trainer.updater.iteration == 3:
        print("ready", flush=True)
        time.sleep(60)
    if mode == "slow":
        print(trainer.updater.iteration, flush=True)
        time.sleep(0.01)

trainer.extend(ready, priority=300)
trainer.run()
for name, param in trainer.updater.get_optimizer().target.namedparams():
    print(name, param.array.tobytes().hex()[:64])
"""


def start(out, stop, mode):
    arguments = [sys.executable, "-c", SCRIPT, out, str(stop), "-", mode]
    return subprocess.Popen(
        list(map(str, arguments)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
    )


@pytest.mark.parametrize(
    ("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)]
)
def test_signal_saves_and_the_run_resumes_exactly(tmp_path, signum, code):
    process = start(tmp_path / "cut", 40, "slow")
    while process.stdout.readline() != "10\n":
        pass
    process.send_signal(signum)
    output, errors = process.communicate(timeout=30)
    assert process.returncode == code, errors
    assert f"{signum.name}: training ends after this iteration" in errors
    [saved] = list_snapshots(tmp_path / "cut")
    last = int(re.findall(r"^\d+$", "10\n" + output, re.MULTILINE)[-1])
    assert saved.iteration == last < 40
    results = []
    for out in ("cut", "whole"):
        output, errors = start(tmp_path / out, 40, "fast").communicate(timeout=30)
        results.append(output)
    assert results[0] == results[1]
    assert "/W" in results[0]
    rows = [read_log(tmp_path / out / "log.jsonl") for out in ("cut", "whole")]
    for row in rows[0] + rows[1]:
        del row["elapsed_time"]
    assert rows[0] == rows[1]


LAUNCHERS = {
    "no reader": "{} 2>&1 | (read line; exit)",
    "no stderr": "{} 2>&-",
    "nothing": "{} <&- >&- 2>&-",
    "tee": "{} 2>&1 | tee log",
}


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_signal_saves_whatever_became_of_the_output(tmp_path, launcher):
    program = SCRIPT.replace(
        'if mode == "hang"',
        "if trainer.updater.iteration == 10:\n"
        "        import os, signal\n"
        "        time.sleep(0.1)\n"
        "        os.killpg(0, signal.SIGINT)\n"
        "        time.sleep(0.1)\n"
        '        print("more", flush=True)\n'
        '    if mode == "hang"',
    )
    (tmp_path / "train.py").write_text(program)
    command = f"{sys.executable} train.py result 40 - fast"
    line = LAUNCHERS[launcher].format(command)
    process = subprocess.run(
        ["bash", "-c", f"trap : INT; {line}; exit ${{PIPESTATUS[0]}}"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        timeout=60,
    )
    assert process.returncode == 130
    [saved] = list_snapshots(tmp_path / "result")
    assert saved.iteration == 10


@every_device
@pytest.mark.parametrize("background", [False, True])
@pytest.mark.parametrize("priority", [1000, -1000])
def test_a_signal_while_all_is_finalized_saves(tmp_path, capfd, background, priority):
    def run(out, stop):
        seeded()
        trainer = language_trainer(out, (stop, "iteration"), dropout=0.2)
        saving = snapshot(autoload=True, on_signal=True, background=background)
        trainer.extend(saving, trigger=(4, "iteration"))
        trainer.extend(LogReport(trigger=(7, "iteration")))
        kill = make_extension(
            finalize=lambda: stop == 10 and os.kill(os.getpid(), signal.SIGTERM)
        )
        trainer.extend(kill(lambda trainer: None), priority=priority)
        trainer.run()
        rows = read_log(out / "log.jsonl")
        return [{**row, "elapsed_time": 0} for row in rows], parameters(trainer)

    with pytest.raises(TrainingInterrupted, match="after iteration 10"):
        run(tmp_path / "cut", 10)
    assert [e.iteration for e in list_snapshots(tmp_path / "cut")] == [4, 8, 10]
    for stop in (11, 16):
        rows, arrays = run(tmp_path / "cut", stop)
    whole_rows, whole = run(tmp_path / "whole", 16)
    assert rows == whole_rows
    for name, array in arrays.items():
        xp.testing.assert_array_equal(array, whole[name])


def test_a_signal_at_the_very_end_saves(tmp_path, monkeypatch, capfd):
    remove = os.unlink

    def interrupt(path):
        remove(path)
        if str(path).endswith(".owner"):
            monkeypatch.undo()
            os.kill(os.getpid(), signal.SIGTERM)

    trainer = make(tmp_path, extension=lambda trainer: None)
    trainer.extend(snapshot(on_signal=True), trigger=(100, "iteration"))
    monkeypatch.setattr(os, "unlink", interrupt)
    with pytest.raises(TrainingInterrupted, match="after iteration 5"):
        trainer.run()
    assert [each.iteration for each in list_snapshots(tmp_path)] == [5]


def test_a_shell_may_repeat_a_hangup(tmp_path):
    def hang_up_twice(trainer):
        if trainer.updater.iteration == 3:
            os.kill(os.getpid(), signal.SIGHUP)
            os.kill(os.getpid(), signal.SIGHUP)

    trainer = make(tmp_path, extension=hang_up_twice)
    trainer.extend(snapshot(on_signal=True), trigger=(100, "iteration"))
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        with pytest.raises(TrainingInterrupted, match="SIGHUP ended training"):
            trainer.run()
    finally:
        signal.signal(signal.SIGHUP, before)
    assert [each.iteration for each in list_snapshots(tmp_path)] == [3]


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_second_signal_ends_the_process_at_once(tmp_path, signum):
    process = start(tmp_path, 40, "hang")
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signum)
    assert any("send it again" in line for line in iter(process.stderr.readline, ""))
    process.send_signal(signum)
    process.communicate(timeout=20)  # it would hang for 60 s
    assert process.returncode == -signum


def make(out, stop=5, extension=None):
    trainer = Trainer(FakeUpdater(3, lambda i: {"loss": i}), (stop, "iteration"), out)

    def interrupt(trainer):
        if trainer.updater.iteration == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    trainer.extend(extension or interrupt, priority=300)
    return trainer


@every_device
def test_iteration_of_the_signal_is_complete(tmp_path, capfd):
    handler = signal.getsignal(signal.SIGTERM)
    notes = []
    trainer = make(tmp_path)
    trainer.extend(lambda t: notes.append(t.updater.iteration), "last", priority=-1)
    with pytest.raises(TrainingInterrupted, match="SIGTERM ended training after iter"):
        trainer.run()
    assert notes == [1, 2, 3]
    assert signal.getsignal(signal.SIGTERM) is handler


def test_interruption_is_an_exit_with_a_code():
    error = TrainingInterrupted(signal.SIGINT, 7)
    assert isinstance(error, SystemExit)
    assert (error.code, error.iteration) == (130, 7)
    assert error.signal is signal.SIGINT


@every_device
@pytest.mark.parametrize("on_signal", [False, True])
@pytest.mark.parametrize("every", [3, 4])
def test_snapshot_is_saved_where_it_is_asked_for(tmp_path, capfd, on_signal, every):
    trainer = make(tmp_path)
    trainer.extend(snapshot(on_signal=on_signal), trigger=(every, "iteration"))
    trainer.extend(LogReport(trigger=(2, "iteration")))
    with pytest.raises(TrainingInterrupted):
        trainer.run()
    saved = [each.iteration for each in list_snapshots(tmp_path)]
    assert saved == ([3] if on_signal or every == 3 else [])
    assert [row["iteration"] for row in read_log(tmp_path / "log.jsonl")] == [2, 3]


@every_device
def test_ignored_signal_stays_ignored(tmp_path):
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        trainer = make(tmp_path)
        trainer.run()
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)
    assert trainer.updater.iteration == 5


@every_device
def test_training_runs_in_other_threads(tmp_path):
    trainer = Trainer(FakeUpdater(), (5, "iteration"), tmp_path)
    thread = threading.Thread(target=trainer.run)
    thread.start()
    thread.join()
    assert trainer.updater.iteration == 5
