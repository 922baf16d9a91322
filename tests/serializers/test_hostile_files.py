import os
import time
import tracemalloc

import numpy as np
import pytest

import dyrnn.random
from dyrnn.errors import SnapshotError
from dyrnn.serializers import (
    Saver,
    SnapshotReader,
    load_npz,
    save_npz,
    write_snapshot,
)
from tests.serializers import hostile_files
from tests.serializers.objects import One

SECONDS, BYTES = 1, 64 << 20


def read_all(path):
    with SnapshotReader(path) as reader:
        reader.verify()


@pytest.mark.parametrize("name", hostile_files.FILES)
def test_a_hostile_file_is_refused_quickly_in_little_memory(tmp_path, name):
    data, message = hostile_files.FILES[name]
    path = tmp_path / "hostile.npz"
    path.write_bytes(data)
    start = time.process_time()
    with pytest.raises(SnapshotError, match=f"hostile.npz: .*({message})"):
        read_all(path)
    assert time.process_time() - start < SECONDS
    tracemalloc.start()
    try:
        with pytest.raises(SnapshotError):
            read_all(path)
        assert tracemalloc.get_traced_memory()[1] < BYTES
    finally:
        tracemalloc.stop()
    assert hostile_files.RAN == []


def test_the_bombs_are_armed():
    assert len(hostile_files.FILES) >= 40
    hostile_files.pickle.loads(hostile_files.FILES["pickle"][0])
    assert hostile_files.RAN
    hostile_files.RAN.clear()


def test_what_is_no_regular_file_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", "/dev/zero"):
        with pytest.raises(SnapshotError, match="not a regular file"):
            read_all(path)


def test_a_compressed_array_is_compared_before_it_is_unpacked(tmp_path):
    path = tmp_path / "a.npz"
    np.savez_compressed(path, x=np.zeros(1 << 24, np.float32))
    tracemalloc.start()
    try:
        with pytest.raises(SnapshotError, match=r"float32 \(16777216,\), expected"):
            load_npz(path, One(np.zeros(4, np.float32)))
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def test_a_compressed_array_of_the_expected_shape_may_be_large(tmp_path):
    path = tmp_path / "a.npz"
    np.savez_compressed(path, x=np.zeros(1 << 23, np.float32))
    one = One(np.ones(1 << 23, np.float32))
    load_npz(path, one)
    assert not one.value.any()


@pytest.mark.parametrize(
    "at, number", [(10, 5), (11, 2), (12, 2**32), (0, -1), (3, 2**64)]
)
def test_a_random_state_out_of_range_is_refused(tmp_path, at, number):
    class Random:
        def serialize(self, s):
            dyrnn.random.serialize(s)

    dyrnn.random.stream("shuffle").generator.random(3)
    path = tmp_path / "a.npz"

    class Spoiled(Random):
        def serialize(self, s):
            super().serialize(s)
            s.contents.values["shuffle/state"][at] = number

    save_npz(path, Random())
    load_npz(path, Random())
    saver = Saver()
    Spoiled().serialize(saver)
    write_snapshot(path, saver.contents)
    before = repr(dyrnn.random.stream("shuffle").generator.bit_generator.state)
    with pytest.raises(
        SnapshotError, match="'shuffle' is damaged: expected 13 numbers"
    ):
        load_npz(path, Random())
    assert repr(dyrnn.random.stream("shuffle").generator.bit_generator.state) == before


def test_reading_needs_at_most_three_times_the_file(tmp_path):
    path = tmp_path / "a.npz"
    save_npz(path, One(np.zeros(48 << 20, np.uint8)))
    one = One(np.ones(48 << 20, np.uint8))
    tracemalloc.start()
    try:
        load_npz(path, one)
        assert tracemalloc.get_traced_memory()[1] < 3 * (48 << 20) + BYTES
    finally:
        tracemalloc.stop()


def test_an_error_of_the_disk_is_the_cause(tmp_path):
    path = tmp_path / "a.npz"
    save_npz(path, One(1))
    reader = SnapshotReader(path)
    reader.close()

    class Failing:
        def seek(self, position):
            raise OSError(5, "Input/output error")

    reader._file = Failing()
    with pytest.raises(SnapshotError, match="reading failed: .*Input/output") as caught:
        reader._read_at(0, 1)
    assert isinstance(caught.value.__cause__, OSError)


def test_a_file_that_shrinks_while_it_is_read_is_refused(tmp_path):
    path = tmp_path / "a.npz"
    save_npz(path, One(np.ones(1000)))
    with SnapshotReader(path) as reader:
        os.truncate(path, 1000)
        with pytest.raises(SnapshotError, match="a.npz: x: the file ends too early"):
            reader.read_array("x")
