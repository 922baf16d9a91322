"""What all examples share: help that explains, a short README, a tiny run."""

import ast

import pytest

from tests.examples.running import EXAMPLES, run

SCRIPTS = sorted(
    str(path.relative_to(EXAMPLES))
    for path in EXAMPLES.glob("*/*.py")
    if "argparse" in path.read_text(encoding="utf-8")
)


READMES = {path.parent.name: path for path in EXAMPLES.glob("*/README.md")}


def test_there_are_examples():
    assert "counting/train_counting.py" in SCRIPTS
    assert {"char_rnn", "counting", "gradients", "sine"} <= READMES.keys()


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_explains_what_it_does(script, tmp_path):
    text = run(script, "-h", cwd=tmp_path)
    assert text.startswith("usage: ")
    docstring = (EXAMPLES / script).read_text(encoding="utf-8").split('"""')[1]
    first_words = docstring.split()[:5]
    assert " ".join(first_words) in " ".join(text.split())
    assert list(tmp_path.iterdir()) == []


def options(script):
    """The keyword arguments of each call that adds an option, by the option's name."""
    for node in ast.walk(ast.parse((EXAMPLES / script).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and node.args:
            name = getattr(node.args[0], "value", None)
            if isinstance(name, str) and name.startswith("--") and " " not in name:
                yield name, {each.arg: each.value for each in node.keywords}


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_explains_each_option_and_says_its_default(script, tmp_path):
    text = " ".join(run(script, "-h", cwd=tmp_path).split())
    found = list(options(script))
    assert found
    for name, keywords in found:
        assert "help" in keywords, name
        default = keywords.get("default")
        if isinstance(default, ast.Constant):
            assert f"(default: {default.value})" in text, name


@pytest.mark.parametrize("folder", sorted(READMES))
def test_readmes_say_how_to_run_it_and_what_to_expect(folder):
    text = READMES[folder].read_text(encoding="utf-8")
    assert f"python examples/{folder}/" in text
    assert "Expected" in text or "| Perplexity" in text
    assert text.count("\n") <= 50
