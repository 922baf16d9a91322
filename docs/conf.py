"""How Sphinx makes the site: ``make docs``, from the pages here and from docstrings."""

import os
import re
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path[:0] = [str(ROOT), str(HERE)]

import reference  # noqa: E402
from docutils import nodes  # noqa: E402
from docutils.utils.math.latex2mathml import tex2mathml  # noqa: E402

from dyrnn.version import __version__  # noqa: E402

project = "dyrnn"
author = "dyrnn authors"
copyright = author
version = release = __version__
language = "en"

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
]
exclude_patterns = ["_build"]
autosummary_generate = False  # reference.py does
suppress_warnings = ["ref.python"]  # types in docstrings are words for readers

myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3
autodoc_inherit_docstrings = False
autodoc_typehints = "none"  # the docstrings say more: shapes and units
napoleon_google_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True  # an attribute is described once, with its class
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

html_theme = "furo"
html_title = f"dyrnn {__version__}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_favicon = "_static/icon.svg"
html_show_sourcelink = False
html_theme_options = {"navigation_with_keys": True}

reference.write_pages(HERE / "api")


def write_example_pages():
    """The page of an example is the README in its folder."""
    (HERE / "examples").mkdir(exist_ok=True)
    for folder in [*ROOT.glob("examples/*"), ROOT / "benchmarks"]:
        if (folder / "README.md").exists():
            text = (folder / "README.md").read_text(encoding="utf-8")
            page = HERE / "examples" / f"{folder.name}.md"
            reference.write_if_new(page, moved(text, folder, page.parent))


def moved(text, here, there):
    """Write links as they are in another folder: to its page, where there is one."""

    def target(match):
        path = (here / match["path"]).resolve()
        if path.name == "README.md" and path != ROOT / "README.md":
            path = path.parent
        if (path / "README.md").exists():
            path = HERE / "examples" / f"{path.name}.md"
        return f"]({Path(os.path.relpath(path, there)).as_posix()}{match['rest']})"

    return re.sub(r"\]\((?P<path>[^)#:\s]+)(?P<rest>[^):\s]*)\)", target, text)


def readme(title):
    """Return a section of the README, as text of a page."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    sections = re.split(r"^##? (.*)\n", text, flags=re.MULTILINE)
    return moved(
        dict(zip(sections[1::2], sections[2::2], strict=True))[title], ROOT, HERE
    ).strip()


def complete(app, name, source):
    """Put in sections of the README and point links to folders at their pages.

    A page that no table of contents names is under "More" in the first page's.
    """
    text = re.sub("<!-- README: (.*) -->", lambda match: readme(match[1]), source[0])
    if name == "index":
        pages = {path.stem for path in HERE.glob("*.md")} - {"index"}
        there = {*text.split("\n"), *(HERE / "own_parts.md").read_text().split("\n")}
        more = sorted(pages - there)
        text = text.replace("<!-- more -->", "\n".join(more))
    here = (HERE / name).parent
    source[0] = moved(text, here, here) if here == HERE else text


write_example_pages()


def render_math(self, node):
    """Formulas are MathML: browsers draw it, without a script and without a network."""
    is_block = node.tagname == "math_block"
    mathml = tex2mathml(node.astext(), as_block=is_block)
    self.body.append(f'<div class="math">{mathml}</div>' if is_block else mathml)
    raise nodes.SkipNode


def add_example(app, kind, name, value, options, lines):
    """Put the example of a name at the end of its docstring."""
    package, _, short = name.rpartition(".")
    if example := reference.examples(package).get(short):
        lines += ["", "Examples", "--------", *example, ""]


def take_links_back(app, name, template, context, doctree):
    """Leave out the links from sources to pages: some name a member without a page."""
    if name.startswith("_modules/"):
        link = r'<a class="viewcode-back".*?</a>'
        context["body"] = re.sub(link, "", context["body"], flags=re.DOTALL)


def setup(app):
    """Connect what is defined above."""
    app.connect("source-read", complete)
    app.connect("autodoc-process-docstring", add_example, priority=400)
    app.connect("html-page-context", take_links_back)
    app.add_html_math_renderer("mathml", (render_math, None), (render_math, None))


html_math_renderer = "mathml"
