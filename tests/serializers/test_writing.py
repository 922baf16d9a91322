import errno
import os
import resource
import stat
import sys

import numpy as np
import pytest

from dyrnn.errors import SnapshotError
from dyrnn.serializers import (
    Contents,
    NewerVersionError,
    archive,
    load_npz,
    read_manifest,
    save_npz,
    verify_npz,
    write_snapshot,
)
from dyrnn.serializers import manifest as manifest_module
from dyrnn.serializers.atomic import atomic_output, sync_directory
from tests.serializers.objects import Layer, Model


def test_equal_contents_give_equal_bytes(tmp_path):
    for name in ("a.npz", "b.npz"):
        save_npz(tmp_path / name, Model(1), metadata={"seed": 1})
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_verification_on_request_reads_the_file_back(tmp_path, monkeypatch):
    path = tmp_path / "a.npz"
    save_npz(path, Layer(1), verify=True)
    monkeypatch.setattr(
        "dyrnn.serializers.writer.encode_header",
        lambda dtype, shape: b"\x93NUMPY\x01\x00" + bytes(120),
    )
    with pytest.raises(SnapshotError, match=r"\.tmp-"):
        save_npz(path, Layer(2), verify=True)
    monkeypatch.undo()
    assert os.listdir(tmp_path) == ["a.npz"]
    layer = Layer()
    load_npz(path, layer)
    np.testing.assert_array_equal(layer.W, Layer(1).W)


def test_archives_beyond_32_bits_are_read_by_us_and_by_numpy(tmp_path, monkeypatch):
    # With a limit of 300 bytes, a small file has the records of one of 4 GiB.
    monkeypatch.setattr(archive, "LIMIT_32", 300)
    path = tmp_path / "large.npz"
    arrays = {"small": np.arange(3), "large": np.arange(100.0), "last": np.ones(2)}
    write_snapshot(path, Contents(arrays, {}))
    monkeypatch.undo()
    assert path.read_bytes().count(b"PK\6\6") == 1
    verify_npz(path)
    with np.load(path) as file:
        for key, array in arrays.items():
            np.testing.assert_array_equal(file[key], array)


def test_an_exception_while_writing_leaves_no_trace(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt), atomic_output(path) as output:
        output.write(b"new")
        raise KeyboardInterrupt
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a"]


def test_the_process_mask_decides_who_may_read(tmp_path):
    before = os.umask(0o027)
    try:
        save_npz(tmp_path / "a.npz", Layer())
    finally:
        os.umask(before)
    assert stat.S_IMODE(os.stat(tmp_path / "a.npz").st_mode) == 0o640


@pytest.mark.skipif(sys.platform != "linux", reason="the limit is one of Unix")
def test_a_file_the_system_refuses_to_grow_is_an_error(tmp_path):
    path = tmp_path / "a.npz"
    save_npz(path, Layer(1))
    before = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))
    try:
        with pytest.raises(OSError) as caught:
            save_npz(path, Layer(2, (1000, 1000)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.errno == errno.EFBIG
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["a.npz"]


def test_a_missing_folder_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        save_npz(tmp_path / "no" / "a.npz", Layer())


def test_a_file_system_without_directory_sync_is_accepted(tmp_path, monkeypatch):
    def fsync(fd):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fsync)
    code = errno.EINVAL
    sync_directory(tmp_path)
    code = errno.EIO
    with pytest.raises(OSError, match="Input/output"):
        sync_directory(tmp_path)


def test_a_newer_format_is_refused_by_its_version(tmp_path, monkeypatch):
    path = tmp_path / "a.npz"
    monkeypatch.setattr(manifest_module, "VERSION", 2)
    save_npz(path, Layer())
    monkeypatch.undo()
    message = "has format version 2, but this dyrnn reads versions up to 1"
    with pytest.raises(NewerVersionError, match=message):
        read_manifest(path)
    with pytest.raises(SnapshotError, match=message):
        load_npz(path, Layer())


def test_a_plain_file_has_no_manifest(tmp_path):
    np.savez(tmp_path / "a.npz", x=1)
    with pytest.raises(SnapshotError, match="a plain npz file, not a snapshot"):
        verify_npz(tmp_path / "a.npz")
