from pathlib import Path

import numpy as np
import pytest

from dyrnn.serializers import load_npz, verify_npz
from dyrnn.serializers.manifest import VERSION, decode_value
from tools import make_golden_snapshot

GOLDEN = Path(__file__).parent.parent / "golden"
FILES = [GOLDEN / f"snapshot-v{version}.npz" for version in range(1, VERSION + 1)]


class State:
    def __init__(self):
        self.contents = make_golden_snapshot.contents()
        self.loaded = {}

    def serialize(self, s):
        for key, array in self.contents.arrays.items():
            self.loaded[key] = s(key, np.zeros_like(array))
        for key in self.contents.values:
            self.loaded[key] = s(key, None)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_files_of_every_format_version_load(path):
    manifest = verify_npz(path)
    assert manifest["metadata"]["vocabulary"] == ["<eos>", "the", "é"]
    state = State()
    load_npz(path, state)
    for key, array in state.contents.arrays.items():
        np.testing.assert_array_equal(state.loaded[key], array, strict=True)
    for key, value in state.contents.values.items():
        assert state.loaded[key] == decode_value(value)


def test_the_format_is_written_as_it_was_byte_by_byte(tmp_path):
    make_golden_snapshot.make(tmp_path / "a.npz")
    assert (tmp_path / "a.npz").read_bytes() == FILES[-1].read_bytes()
