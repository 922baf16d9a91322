"""A directory has one training that writes into it."""

import contextlib
import errno
import json
import os
import signal
import subprocess
import sys
import threading

import pytest

from dyrnn.extensions import LogReport, read_log, snapshot
from dyrnn.training import Trainer, ownership
from tests.arrays import every_device
from tests.training.toys import FakeUpdater, regression_trainer

pytestmark = every_device

HOLD = """
import sys
from dyrnn.training.ownership import owning
with owning(sys.argv[1]):
    print("owned", flush=True)
    sys.stdin.read()
"""


def make(out):
    return Trainer(FakeUpdater(), (2, "iteration"), out)


@pytest.fixture
def other(tmp_path):
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout.readline() == "owned\n"
        yield process
        process.kill()


def test_the_second_process_is_refused_and_the_owner_named(tmp_path, other):
    trainer = make(tmp_path)
    with pytest.raises(BlockingIOError, match=f"in use by process {other.pid} on '"):
        trainer.run()
    assert trainer.updater.iteration == 0
    other.send_signal(signal.SIGKILL)  # a dead owner does not block
    other.wait()
    trainer.run()
    assert os.listdir(tmp_path) == []


def test_the_file_of_another_user_counts_while_he_trains(tmp_path, other, monkeypatch):
    opened = os.open

    def refusing(path, flags, mode=0o777):
        if flags & os.O_RDWR and str(path).endswith(".owner") and os.path.exists(path):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return opened(path, flags, mode)

    monkeypatch.setattr(os, "open", refusing)
    with pytest.raises(BlockingIOError, match=f"in use by process {other.pid} on '"):
        make(tmp_path).run()
    other.send_signal(signal.SIGKILL)
    other.wait()
    with monkeypatch.context() as sticky:
        sticky.setattr(os, "unlink", lambda path: opened(path, os.O_RDWR))
        with pytest.raises(PermissionError, match="another user trained in this direc"):
            make(tmp_path).run()
    make(tmp_path).run()


def test_a_process_has_one_training_in_a_directory_at_a_time(tmp_path):
    trainer, inner = make(tmp_path), make(tmp_path / "x" / "..")
    errors = []

    def start(_):
        try:
            inner.run()
        except BlockingIOError as error:
            errors.append(str(error))

    trainer.extend(start)
    (tmp_path / "x").mkdir()
    thread = threading.Thread(target=trainer.run)
    thread.start()
    thread.join()
    assert len(errors) == 2 and "this very process" in errors[0]
    inner.run()


@pytest.mark.parametrize(
    ("host", "process", "outcome"),
    [
        (None, os.getpid() + 10**7, None),  # that process is gone
        (None, 1, BlockingIOError),
        ("elsewhere", 1, UserWarning),
    ],
    ids=["gone", "alive", "elsewhere"],
)
def test_without_locks_the_named_owner_counts(
    tmp_path, monkeypatch, host, process, outcome
):
    def lockf(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    fcntl = pytest.importorskip("fcntl")
    monkeypatch.setattr(fcntl, "lockf", lockf)
    owner = {"host": host or ownership.socket.gethostname(), "process": process}
    (tmp_path / ".owner").write_text(json.dumps(owner))
    trainer = make(tmp_path)
    if outcome is None:
        trainer.run()
    elif outcome is UserWarning:
        with pytest.warns(UserWarning, match="may be in use by process 1 on 'elsewh"):
            trainer.run()
    else:
        with pytest.raises(outcome, match="process 1 on"):
            trainer.run()


@pytest.mark.parametrize("text", [b"", b"[1]", b"\xff{", b"{}", b'{"process": "x"}'])
def test_a_file_that_is_in_the_way_does_not_block(tmp_path, text):
    (tmp_path / ".owner").write_bytes(text)
    make(tmp_path).run()


@pytest.mark.skipif(os.name == "nt", reason="no such files")
@pytest.mark.parametrize("kind", ["directory", "link", "pipe"])
def test_what_is_no_file_and_in_the_way_is_named(tmp_path, kind):
    path = tmp_path / ".owner"
    make_it = {"directory": os.mkdir, "pipe": os.mkfifo}.get(kind)
    path.symlink_to("x") if make_it is None else make_it(path)
    with pytest.raises(FileExistsError, match=r"it is no file, .* remove it: .*owner"):
        make(tmp_path).run()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no os.fork")
def test_a_forked_child_neither_owns_nor_gives_up(tmp_path):
    context = ownership.owning(tmp_path)
    context.__enter__()
    process = os.fork()
    if process == 0:
        try:
            with contextlib.suppress(BlockingIOError), ownership.owning(tmp_path):
                os._exit(1)
            context.__exit__(None, None, None)
        finally:
            os._exit(0)
    assert os.waitpid(process, 0)[1] == 0
    assert os.listdir(tmp_path) == [".owner"]
    context.__exit__(None, None, None)
    assert os.listdir(tmp_path) == []


def test_the_file_of_the_next_owner_stays(tmp_path):
    with ownership.owning(tmp_path):
        (tmp_path / ".owner").unlink()  # by somebody
        (tmp_path / ".owner").touch()
    assert (tmp_path / ".owner").exists()


def test_out_that_is_no_directory_is_named(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name, reason in (("file", "it is a file"), ("link", "a link that leads now")):
        with pytest.raises(FileExistsError, match=reason):
            make(tmp_path / name).run()


def test_two_snapshots_of_one_name_keep_as_many(tmp_path):
    trainer = make(tmp_path)
    trainer.extend(snapshot())
    trainer.extend(snapshot(n_retains=2))
    with pytest.raises(ValueError, match="would pass"):
        trainer.run()


def test_a_change_of_directory_does_not_move_the_output(tmp_path, monkeypatch):
    (tmp_path / "elsewhere" / "out").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    trainer = regression_trainer("out", (4, "iteration"))
    trainer.extend(LogReport(trigger=(1, "iteration")))
    trainer.extend(snapshot(), trigger=(1, "iteration"))
    trainer.extend(lambda _: os.chdir(tmp_path / "elsewhere"), trigger=(2, "iteration"))
    trainer.run()
    assert trainer.out == "out"
    assert not list((tmp_path / "elsewhere" / "out").iterdir())
    assert len(read_log(tmp_path / "out" / "log.jsonl")) == 4
    assert len(list((tmp_path / "out").glob("snapshot*.npz"))) == 4
