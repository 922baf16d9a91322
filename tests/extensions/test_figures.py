"""Pictures of one's own are written whole, or a warning says why there are none."""

import importlib.util

import pytest

from dyrnn import extensions


def draw(figure):
    figure.add_subplot().plot([1, 2])


def test_a_picture_has_the_format_of_its_ending_and_the_size_given(tmp_path):
    path = tmp_path / "a.png"
    assert extensions.save_figure(path, draw, size=(2, 1), dpi=50)
    data = path.read_bytes()
    assert data.startswith(b"\x89PNG")
    assert (data[16:20], data[20:24]) == (b"\0\0\0d", b"\0\0\0\x32")  # 100 x 50


def test_without_matplotlib_a_warning_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.warns(UserWarning, match="matplotlib is not installed") as caught:
        assert not extensions.save_figure(tmp_path / "a.png", draw)
    assert list(tmp_path.iterdir()) == []
    assert caught[0].filename == __file__
