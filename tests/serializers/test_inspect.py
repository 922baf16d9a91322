import json
import subprocess
import sys

import pytest

from dyrnn.serializers import save_npz
from dyrnn.serializers.__main__ import main
from tests.serializers.objects import Layer, Model


@pytest.fixture
def path(tmp_path):
    metadata = {"words": ["the"] * 500, "seed": 7, "bell": "\a\33[2J"}
    save_npz(tmp_path / "a.npz", Model(1), metadata=metadata)
    return str(tmp_path / "a.npz")


def test_the_manifest_is_printed_for_people(path, capsys):
    assert main([path]) == 0
    text = capsys.readouterr().out
    assert "dyrnn snapshot, version 1\n" in text
    assert "  seed: 7\n" in text
    assert "... (500 items)\n" in text
    assert '  best: {"$float": "inf"}\n' in text
    assert "arrays: 4, 104 bytes\n" in text
    assert "  l1/W: <f4 (3, 4) sha256 " in text
    assert text.isascii()
    assert "\a" not in text and "\33" not in text


def test_the_whole_manifest_is_printed_as_json(path, capsys):
    assert main([path, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["metadata"]["words"] == ["the"] * 500


def test_every_byte_is_checked_on_request(path, capsys):
    assert main([path, "--verify"]) == 0
    assert "every byte is as the manifest says" in capsys.readouterr().out
    with open(path, "r+b") as file:
        file.seek(200)
        file.write(b"spoiled")
    assert main([path]) == 0
    assert main([path, "--verify"]) == 1
    assert "the checksum of the archive" in capsys.readouterr().err


def test_a_file_that_is_no_snapshot_ends_with_status_1(tmp_path):
    (tmp_path / "b.npz").write_bytes(b"\33[2J" * 50)
    for name, message in (("b.npz", "does not end as"), ("c.npz", "No such file")):
        command = [sys.executable, "-m", "dyrnn.serializers", str(tmp_path / name)]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        assert run.returncode == 1
        assert message in run.stderr
        assert "Traceback" not in run.stderr


def test_arrays_are_not_needed_to_inspect(tmp_path, capsys):
    save_npz(tmp_path / "a.npz", Layer())
    assert main([str(tmp_path / "a.npz")]) == 0
