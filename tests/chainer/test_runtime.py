import io
import sys
import types
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import dyrnn.functions as F
from dyrnn import chainer
from dyrnn.chainer import gradient_check
from dyrnn.chainer.backends import cuda, intel64


def test_runtime_information_names_all_packages():
    out = io.StringIO()
    chainer.print_runtime_info(out)
    names = [line.partition(":")[0] for line in out.getvalue().splitlines()]
    assert [n for n in names if not n.startswith(" ")] == (
        "Platform Chainer ChainerX NumPy CuPy iDeep".split()
    )
    assert f"NumPy: {np.__version__}\n" in out.getvalue()


def test_runtime_information_goes_to_the_screen(capsys):
    chainer.print_runtime_info()
    assert "Chainer: 7.8.1 (dyrnn " in capsys.readouterr().out


def test_runtime_information_quotes_cupy(monkeypatch, capsys):
    def show_config():
        sys.stdout.write("CuPy Version : 13\nDevice 0 : H\n")

    monkeypatch.setattr(cuda, "available", True)
    cupy = types.SimpleNamespace(show_config=show_config)
    monkeypatch.setattr(cuda, "cupy", cupy)
    chainer.print_runtime_info()
    text = capsys.readouterr().out
    assert "CuPy: \n  CuPy Version : 13\n  Device 0 : H\niDeep:" in text


def test_types_and_warnings_are_there_for_annotations():
    assert issubclass(chainer.warnings.PerformanceWarning, RuntimeWarning)
    assert isinstance(np.ones(1), chainer.types.NdArray)
    assert isinstance("@numpy", chainer.types.DeviceSpec)
    assert repr(chainer.Fallback) == "Fallback"


def test_numerical_gradients_of_plain_numbers():
    x = np.array(2.0)
    (gx,) = gradient_check.numerical_grad(lambda: (float(x) ** 2,), (x,), (1.0,))
    np.testing.assert_allclose(gx, 4, rtol=1e-6)


def test_new_settings_are_none():
    fresh = chainer.configuration.GlobalConfig()
    assert fresh.use_cudnn is None and fresh.compute_mode is None
    out = io.StringIO()
    fresh.dtype = "f"
    fresh.show(out)
    assert out.getvalue() == "dtype f\n"


@pytest.mark.skipif(cuda.available, reason="there is a GPU")
@pytest.mark.parametrize(
    ("make", "args"),
    [
        (cuda.elementwise, ("T x", "T y", "y = x", "copy")),
        (cuda.reduce, ("T x", "T y", "x", "a + b", "y = a", "0", "add")),
        (cuda.raw, ("code", "name", ("-O3",))),
    ],
)
def test_kernels_need_a_gpu(make, args):
    with pytest.raises(RuntimeError, match="CUDA environment is not correctly set up"):
        make(*args)


def test_ideep_is_a_device_of_numpy_that_is_not_there():
    assert intel64.Intel64Device.xp is np
    with pytest.raises(RuntimeError, match="iDeep is not available"):
        chainer.get_device("@intel64")


def test_the_mode_of_a_thread_reaches_the_rules_of_the_core():
    x = np.ones(1000, np.float32)

    def drops():
        return bool((F.dropout(x, 0.5).array == 0).any())

    assert drops()
    with chainer.using_config("train", False):
        assert not drops()
        with ThreadPoolExecutor(1) as others:
            assert others.submit(drops).result()
        with chainer.using_config("train", True):
            assert drops()
        assert not drops()
    assert drops()
    chainer.config.train = False
    try:
        assert not drops()
    finally:
        del chainer.config.train
    assert drops()
    chainer.global_config.train = False
    try:
        with ThreadPoolExecutor(1) as others:
            assert not others.submit(drops).result()
    finally:
        chainer.global_config.train = True
    assert drops()
