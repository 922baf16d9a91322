"""The code of every page runs, in order, and links between pages lead somewhere.

Blocks of a page marked ``python`` share their names. A comment of HTML just before a
block says what a reader's environment has and a test's may not: without torch,
``<!-- needs torch -->`` skips what follows, up to the next heading. A comment that
begins with ``python`` is code which is run and not shown: what a page takes for
granted, such as a trained model.
"""

import doctest
import importlib.util
import json
import re
import sys
from pathlib import Path

import pytest

import dyrnn

ROOT = Path(__file__).resolve().parents[1]
PAGES = {
    path.relative_to(ROOT).as_posix(): path
    for path in [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
}
PARTS = re.compile(
    r"^(?P<heading>#)|^<!-- needs (?P<needs>[\w.]+) -->"
    r"|^<!-- python\n(?P<hidden>.*?)^-->|^```python\n(?P<code>.*?)^```",
    re.MULTILINE | re.DOTALL,
)
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def parts(text):
    """Return what there is to do of a page: [(kind, text, line)]."""
    return [
        (part.lastgroup, part[part.lastgroup], text.count("\n", 0, part.start()) + 1)
        for part in PARTS.finditer(text)
    ]


def run(text, name="page"):
    """Run the code of a page; return the packages that were not there."""
    names: dict = {"__name__": "__main__"}
    missing, is_on = [], True
    for kind, code, line in parts(text):
        if kind == "heading":
            is_on = True
        elif kind == "needs":
            is_on = importlib.util.find_spec(code) is not None
            missing += [] if is_on else [code]
        elif not is_on:
            continue
        elif ">>> " in code:
            test = doctest.DocTestParser().get_doctest(code, names, name, name, line)
            report: list = []
            runner = doctest.DocTestRunner(optionflags=FLAGS)
            result = runner.run(test, out=report.append, clear_globs=False)
            names = test.globs
            assert result.failed == 0, "".join(report)
        else:
            exec(compile("\n" * line + code, name, "exec"), names)
    return missing


WITH_CODE = [
    name for name, path in PAGES.items() if "```python" in path.read_text("utf-8")
]


@pytest.fixture
def scratch(tmp_path, monkeypatch):
    """An empty folder to run in; afterwards settings and streams are as before."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    monkeypatch.syspath_prepend(str(tmp_path))
    kept, settings = set(sys.modules), dict(vars(type(dyrnn.config)))
    with dyrnn.random.Streams(0):
        yield tmp_path
    for name in ("threads", "kept_memory"):
        setattr(dyrnn.config, name, settings[name])
    for name in set(sys.modules) - kept:
        origin = getattr(sys.modules[name], "__file__", None)
        if origin and Path(origin).is_relative_to(tmp_path):
            del sys.modules[name]


@pytest.mark.parametrize("name", [name for name in WITH_CODE if name != "README.md"])
def test_code_of_page_runs(name, scratch):
    missing = run(PAGES[name].read_text(encoding="utf-8"), name)
    if missing:
        pytest.skip(f"all ran but what needs {', '.join(missing)}")


def test_the_first_program_learns(scratch, capsys):
    run(PAGES["README.md"].read_text(encoding="utf-8"))
    rows = capsys.readouterr().out.splitlines()
    losses = [float(row.split()[1]) for row in rows[1:11]]
    assert rows[0].split()[1] == "main/loss" and losses[-1] < 0.1 < losses[0]
    assert (scratch / "result" / "echo" / "log.jsonl").exists()


def test_wrong_code_is_found():
    assert run("```python\nx = 1\n```\n\n```python\n>>> x\n1\n\n```\n") == []
    with pytest.raises(ZeroDivisionError):
        run("```python\n1 / 0\n```\n")
    with pytest.raises(AssertionError, match="Expected"):
        run("<!-- python\nx = 1\n-->\n```python\n>>> x + 1\n3\n\n```\n")
    skipped = "<!-- needs no_such_package -->\n```python\n1 / 0\n```\n"
    assert run(skipped) == ["no_such_package"]
    with pytest.raises(ZeroDivisionError):
        run(skipped + "# Next\n```python\n1 / 0\n```\n")


def program(name):
    """Return a program of docs/ as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_notebook_is_the_tutorial():
    page = PAGES["docs/tutorial.md"].read_text(encoding="utf-8")
    text = (ROOT / "docs" / "tutorial.ipynb").read_text(encoding="utf-8")
    assert text == program("notebook").notebook(page), (
        "write it anew: python docs/notebook.py docs/tutorial.md"
    )
    cells = [c for c in json.loads(text)["cells"] if c["cell_type"] == "code"]
    code = [code for kind, code, _ in parts(page) if kind == "code"]
    assert ["".join(cell["source"]) for cell in cells] == [c.strip() for c in code]


def test_pictures_are_drawn(tmp_path):
    pytest.importorskip("matplotlib")
    pictures = program("pictures")
    whole, cut = pictures.reach(0), pictures.reach(4)
    assert cut[:8] == [0.0] * 8 and cut[8:] == whole[8:] and min(whole) > 0
    assert pictures.recalled(1, 5, updates=60) > 0.9  # one step ago: soon learnt
    assert pictures.recalled(3, 2, updates=60) < 0.7  # beyond the window
    pictures.main(tmp_path, delays=[1, 2], updates=3)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"windows.svg", "truncated.svg", "recall.svg"}


def slug(heading):
    """Return the anchor of a heading, as GitHub and MyST make it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")


def anchors(path):
    text = path.read_text(encoding="utf-8")
    text = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    return {slug(heading) for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE)}


def dead_links(path):
    """Return the links of a page whose file or heading is not there."""
    found = re.findall(r"\]\(([^)\s:#]*)(?:#([^)\s]*))?\)", path.read_text("utf-8"))
    return [
        f"{file}#{anchor}"
        for file, anchor in found
        if not file.startswith("api/")  # made with the site, and checked there
        and (
            not (target := path.parent / file if file else path).exists()
            or (anchor and target.suffix == ".md" and anchor not in anchors(target))
        )
    ]


@pytest.mark.parametrize("name", PAGES)
def test_links_of_page_lead_somewhere(name):
    assert dead_links(PAGES[name]) == []


def test_dead_links_are_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# A title\n[x](#a-title) [y](#b) [z](none.md) ![w](page.md#c)\n")
    assert dead_links(page) == ["#b", "none.md#", "page.md#c"]


def test_links_of_the_site_lead_somewhere_or_are_named(tmp_path):
    module = program("check_links")
    (tmp_path / "a.html").write_text('<a id="x" href="b.html#y">, <img src="no.png">')
    (tmp_path / "b.html").write_text('<a id="y" href="a.html#z">, <a href="http://c">')
    found = {(path.name, link) for path, link in module.dead_links(tmp_path)}
    assert found == {("a.html", "no.png"), ("b.html", "a.html#z")}
