"""What is said to users never ends what it tells of."""

import io
import os
import subprocess
import sys

import pytest

from dyrnn import console
from dyrnn.extensions import LogReport, PrintReport, ProgressBar
from dyrnn.training import Trainer
from tests.training.toys import FakeUpdater


class Broken(io.StringIO):
    def write(self, *text):
        raise BrokenPipeError

    flush = write


@pytest.fixture(params=[None, Broken(), io.StringIO()])
def stream(request):
    return request.param


def test_training_goes_on_without_readers(tmp_path, monkeypatch, stream):
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, stream)
    updater = FakeUpdater(3, lambda i: {"loss": i})
    trainer = Trainer(updater, (6, "iteration"), tmp_path)
    trainer.extend(LogReport(trigger=(2, "iteration")))
    trainer.extend(PrintReport(["loss"]))
    trainer.extend(ProgressBar(update_interval=1))
    trainer.run()
    console.say("done")
    assert updater.iteration == 6


def test_a_forgiving_stream_is_its_file_but_for_errors():
    file = io.StringIO()
    stream = console.forgiving(file)
    stream.writelines(["a", "b"])
    assert stream == file and file.getvalue() == stream.getvalue() == "ab"
    file.close()
    assert stream.write("c") == 1
    stream.flush()


@pytest.mark.skipif(os.name == "nt", reason="needs a shell")
def test_no_file_gets_a_standard_descriptor(tmp_path):
    program = (
        "from dyrnn.serializers.atomic import atomic_output\n"
        "with atomic_output('file') as file: file.write(b'%d' % file.fileno())"
    )
    line = f'exec "{sys.executable}" -c "{program}" <&- >&- 2>&-'
    subprocess.run(["bash", "-c", line], cwd=tmp_path, check=True)
    assert int((tmp_path / "file").read_bytes()) > 2
