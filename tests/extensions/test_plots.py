import importlib.util
import math

import numpy as np
import pytest

from dyrnn import extensions as E
from dyrnn.serializers import load_npz, save_npz
from dyrnn.training import Trainer
from tests.training.toys import FakeUpdater


def make(out, stop=6, **options):
    updater = FakeUpdater(3, lambda i: {"loss": 1 / i, "other": i, "third": 0})
    trainer = Trainer(updater, (stop, "iteration"), out)
    options = {"trigger": (2, "iteration"), **options}
    trainer.extend(E.PlotReport(["loss", "other"], **options))
    return trainer


def test_means_are_drawn(tmp_path):
    pytest.importorskip("matplotlib")
    axes = []
    trainer = make(tmp_path, postprocess=axes.append)
    trainer.run()
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
    lines = {line.get_label(): line.get_xydata() for line in axes[-1].lines}
    assert sorted(lines) == ["loss", "other"]
    np.testing.assert_allclose(lines["other"], [[2, 1.5], [4, 3.5], [6, 5.5]])


def test_horizontal_axis_may_be_epochs(tmp_path):
    pytest.importorskip("matplotlib")
    axes = []
    make(tmp_path, x_key="epoch", filename="p.svg", postprocess=axes.append).run()
    assert list(axes[-1].lines[0].get_xdata()) == pytest.approx([2 / 3, 4 / 3, 2])
    assert "<svg" in (tmp_path / "p.svg").read_text()
    with pytest.raises(ValueError, match="x_key is 'time': use 'iteration' or 'epoch'"):
        E.PlotReport("loss", x_key="time")


def test_nothing_is_drawn_without_values(tmp_path):
    pytest.importorskip("matplotlib")
    trainer = Trainer(FakeUpdater(3), (3, "iteration"), tmp_path)
    trainer.extend(E.PlotReport("loss", trigger=(1, "epoch")))
    with pytest.warns(UserWarning, match="never observed: loss; observed were: none"):
        trainer.run()
    assert (tmp_path / "plot.png").exists()


def test_values_that_were_never_observed_are_named_at_the_end(tmp_path):
    trainer = Trainer(FakeUpdater(3, lambda i: {"loss": i}), (3, "epoch"), tmp_path)
    trainer.extend(E.PlotReport(["loss", "los"]))
    trainer.get_extension("PlotReport")._draw = lambda figure: None
    message = "PlotReport: never observed: los; observed were: loss. Correct the name"
    with pytest.warns(UserWarning, match=message):
        trainer.run()


def test_nothing_is_called_misspelt_when_an_error_ends_training(tmp_path):
    trainer = make(tmp_path)
    trainer.extend(E.PlotReport("validation/loss", filename="validation.png"))
    trainer.extend(lambda trainer: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        trainer.run()


def test_nothing_is_called_misspelt_before_an_interval_is_over(tmp_path):
    trainer = make(tmp_path, stop=1)
    trainer.extend(E.PlotReport("validation/loss", filename="validation.png"))
    trainer.run()


def test_a_picture_that_another_extension_draws_is_refused(tmp_path):
    trainer = make(tmp_path)
    trainer.extend(E.PlotReport("third"))
    message = "PlotReport and PlotReport_1 of this trainer write the same file"
    with pytest.raises(ValueError, match=message):
        trainer.run()


def test_without_matplotlib_one_warning_says_so(tmp_path, monkeypatch):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name: None if name == "matplotlib" else find_spec(name),
    )
    trainer = make(tmp_path)
    with pytest.warns(UserWarning, match="matplotlib is not installed") as caught:
        trainer.run()
    assert len(caught) == 1
    assert not (tmp_path / "plot.png").exists()


@pytest.mark.parametrize("stop", range(1, 6))
def test_points_survive_a_resume(tmp_path, stop):
    whole = make(tmp_path)
    whole.get_extension("PlotReport")._draw = lambda path: None
    whole.run()
    cut = make(tmp_path, stop)
    cut.get_extension("PlotReport")._draw = lambda path: None
    cut.run()
    save_npz(tmp_path / "s.npz", cut)
    resumed = make(tmp_path)
    resumed.get_extension("PlotReport")._draw = lambda path: None
    load_npz(tmp_path / "s.npz", resumed)
    resumed.run()
    points = resumed.get_extension("PlotReport")._points
    assert points == whole.get_extension("PlotReport")._points
    assert len(points["loss"]) == 3


def test_many_points_are_saved(tmp_path):
    trainer = make(tmp_path)
    plot = trainer.get_extension("PlotReport")
    points = [[k, math.nan if k % 3 else k / 7] for k in range(400_000)]
    plot._points["loss"] = points
    save_npz(tmp_path / "s.npz", trainer)
    loaded = make(tmp_path)
    load_npz(tmp_path / "s.npz", loaded)
    found = loaded.get_extension("PlotReport")._points["loss"]
    np.testing.assert_array_equal(np.array(found), np.array(points))
