"""Gradients vanish in plain recurrent networks; the LSTM's carousel keeps them."""

import re

from tests.examples.running import run


def factors(text):
    rows = re.findall(r"^(.{24}) +([\d.e+-]+) +([\d.]+)$", text, re.MULTILINE)
    return {name.strip(): float(factor) for name, _, factor in rows}


def test_every_activation_loses_the_error_and_the_carousel_does_not(tmp_path):
    text = run("gradients/plot_gradients.py", "--test", cwd=tmp_path)
    found = factors(text)
    names = "tanh sigmoid relu relu6 crelu elu softplus softsign".split()
    assert [*found] == [*names, "LSTM, forget bias 1", "LSTM, forget gate open"]
    assert all(found[name] < 0.9 for name in names)
    assert found["sigmoid"] < found["softsign"] < found["tanh"] < found["relu"]
    assert 0.95 < found["LSTM, forget gate open"] < 1.2
    picture = (tmp_path / "result" / "gradients" / "gradients.png").read_bytes()
    assert picture.startswith(b"\x89PNG") and len(picture) < 60_000


def test_larger_weights_make_up_for_the_units_that_a_rectifier_switches_off(tmp_path):
    text = run("gradients/plot_gradients.py", "--test", "--gain", "1.4", cwd=tmp_path)
    found = factors(text)
    assert all(0.9 < found[name] < 1.1 for name in ("relu", "relu6", "crelu"))
