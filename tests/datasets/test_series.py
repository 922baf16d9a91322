"""Windows over series: what is in them, gaps, and that batches have time first."""

import numpy as np
import pytest

import dyrnn
import dyrnn.functions as F
import dyrnn.links as L
from dyrnn import extensions, optimizers, training
from dyrnn.datasets import SeriesWindows, concat_examples
from dyrnn.errors import ShapeError
from dyrnn.iterators import SerialIterator
from dyrnn.serializers import load_npz, save_npz
from tests.arrays import every_device, xp


def parts(windows, i):
    return [part.tolist() for part in windows[i]]


@pytest.mark.parametrize("every_step", [False, True])
def test_windows_are_what_their_definition_says(rng, every_step):
    for _ in range(50):
        N, T, S, stride = (int(n) for n in rng.integers(1, [40, 9, 6, 5]))
        series, targets = rng.normal(size=(N, 2)), rng.normal(size=(N, 3))
        known = rng.normal(size=(N, 1))
        options = {"stride": stride, "every_step": every_step}
        starts = range(0, N - T - S + 1, stride)
        if not starts:
            with pytest.raises(ValueError, match="no window fits"):
                SeriesWindows(series, T, S, **options)
            continue
        windows = SeriesWindows(
            series, T, S, targets=targets, covariates=known, **options
        )
        assert len(windows) == len(starts)
        for start, (x, ahead, t) in zip(starts, windows, strict=True):
            both = xp.concatenate([series, known], axis=1)
            xp.testing.assert_array_equal(x, both[start : start + T])
            first = start + S if every_step else start + T
            xp.testing.assert_array_equal(t, targets[first : start + T + S])
            xp.testing.assert_array_equal(ahead, known[first : start + T + S])
            assert len(t) == (T if every_step else S)


def test_gaps_are_0_in_inputs_and_weigh_nothing_in_targets():
    nan = np.nan
    series = np.array([1.0, nan, 3, 4, nan, nan, nan, 8], np.float32)
    windows = SeriesWindows(series, steps=2, horizon=2, gaps=True)
    # those that end before 4 and 5 have a target, that before 5 has none
    assert windows.ends.tolist() == [2, 3, 6]
    x, t, weights = parts(windows, 0)
    assert x == [[1, 1], [0, 0]] and t == [[3], [4]] and weights == [[1], [1]]
    x, t, weights = parts(windows, 2)
    assert x == [[0, 0], [0, 0]] and t == [[0], [8]] and weights == [[0], [1]]
    assert all(part.dtype == np.float32 for part in windows[0])


class Forecaster(dyrnn.Chain):
    def __init__(self):
        super().__init__()
        with self.init_scope():
            self.rnn, self.out = L.LSTM(2, 4), L.Linear(4, 2)
        self.shapes = []

    def forward(self, x, t):
        self.reset_state()
        self.shapes.append((x.shape, t.shape))
        return F.mean_squared_error(self.out(self.rnn(x)), t)


@pytest.mark.parametrize("batch_size", [3, 5])  # that of a window's steps, too
def test_batches_have_time_first_in_updaters_and_evaluators(rng, batch_size):
    series = rng.normal(size=(20, 2)).astype(np.float32)
    windows = SeriesWindows(series, 5, every_step=True)
    model = Forecaster()
    iterator = SerialIterator(windows, batch_size)
    updater = training.StandardUpdater(iterator, optimizers.SGD().setup(model))
    updater.update()
    once = SerialIterator(windows[:batch_size], batch_size, repeat=False)
    extensions.Evaluator(once, model)()
    shape = (5, batch_size, 2)
    assert set(model.shapes) == {(shape, shape)}


def test_windows_of_their_own_are_no_steps_of_one_series():
    iterator = SerialIterator(SeriesWindows(xp.ones((9, 2), np.float32), 3), 2)
    optimizer = optimizers.SGD().setup(Forecaster())
    with pytest.raises(ValueError, match="do not go on where .* StandardUpdater"):
        training.BPTTUpdater(iterator, optimizer, 3)


def test_a_batch_with_padding_is_made_as_usual(rng):
    windows = SeriesWindows(rng.normal(size=9), 3)
    x, t = concat_examples(windows[:4], padding=0)
    assert x.shape == (4, 3, 1) and t.shape == (4, 1, 1)


# fmt: off
REFUSED = [
    (lambda: SeriesWindows(np.ones(9), 0), ValueError, "steps=0, horizon=1 and stride"),
    (lambda: SeriesWindows(np.ones(5), 5), ValueError,
     "no window fits: 5 steps, but a window of 5 and a horizon of 1 need 6"),
    (lambda: SeriesWindows(np.array([1, np.nan, 2]), 1), ValueError,
     r"a missing value \(NaN\) in step 1, column 0; fill it in, or say gaps=True"),
    (lambda: SeriesWindows(np.ones(3), 1, covariates=[1, np.nan, 1], gaps=True),
     ValueError, "covariates has a missing value .* fill it in$"),
    (lambda: SeriesWindows(np.array([1, np.inf, 2]), 1), ValueError, "infinite"),
    (lambda: SeriesWindows(np.full(4, np.nan), 1, gaps=True), ValueError,
     "all targets of all windows are missing"),
    (lambda: SeriesWindows(np.ones(4), 1, targets=np.ones(3)), ShapeError,
     "the series has 4 steps, but targets has 3"),
    (lambda: SeriesWindows(np.array(["a"]), 1), ShapeError, "it must hold numbers"),
    (lambda: L.StandardScaler(2).fit(np.ones((3, 1))), ShapeError, r"\(\.\.\., 2\)"),
    (lambda: L.StandardScaler(1).fit(np.full((3, 1), np.nan)), ValueError,
     "x of 3 rows has no values in column 0"),
    (lambda: L.StandardScaler(2)(np.ones((3, 1))), ShapeError, r"x has shape \(3, 1\)"),
]
# fmt: on


@every_device
@pytest.mark.parametrize(("call", "error", "message"), REFUSED)
def test_what_cannot_be_cut_or_scaled_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_a_scaler_standardises_and_goes_back_and_is_saved(rng, tmp_path, device):
    x = rng.normal(1e6, [2.0, 0.0, 5.0], (50, 3)).astype(np.float32)
    x[7, 0] = np.nan
    model = dyrnn.Chain(scaler=L.StandardScaler(3)).to_device(device)
    model.scaler.fit(x)
    y = dyrnn.to_cpu(model.scaler(device.send(x)).array)
    assert y.dtype == np.float32 and np.isnan(y[7, 0])
    assert abs(np.nanmean(y, axis=0)).max() < 1e-5
    np.testing.assert_allclose(np.nanstd(y, axis=0), [1, 0, 1], atol=1e-5)
    back = dyrnn.to_cpu(model.scaler.inverse(device.send(y)).array)
    np.testing.assert_allclose(back, x, rtol=1e-6)
    one = dyrnn.to_cpu(model.scaler.inverse(device.send(y[:, 2:]), [2]).array)
    np.testing.assert_array_equal(one, back[:, 2:])
    dyrnn.serializers.save_npz(tmp_path / "m.npz", model)
    other = dyrnn.Chain(scaler=L.StandardScaler(3))
    dyrnn.serializers.load_npz(tmp_path / "m.npz", other)
    np.testing.assert_array_equal(other.scaler(x).array, y)


def test_a_scaler_that_measured_nothing_is_refused(tmp_path):
    x = np.array([[1.0, 2.0], [3.0, 4.0]])
    scaler = L.StandardScaler(2)
    for call in (scaler, scaler.inverse, scaler.copy(), scaler.copy("copy")):
        with pytest.raises(RuntimeError, match=r"call fit\(x\) with the data"):
            call(x)
    scaler.fit(x)
    save_npz(tmp_path / "s.npz", scaler)
    other = L.StandardScaler(2)
    load_npz(tmp_path / "s.npz", other)
    for ours in (other, scaler.copy()):
        np.testing.assert_array_equal(ours(x).array, [[-1, -1], [1, 1]])
