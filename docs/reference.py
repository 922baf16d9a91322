"""The public names of dyrnn, and the pages of the API reference made from them.

Read by ``conf.py``, which makes the pages, and by the test that each has an example.
"""

import importlib
import inspect
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# In the order of the table of contents. A name is shown by the first that has it.
PACKAGES = [
    "dyrnn",
    "dyrnn.functions",
    "dyrnn.links",
    "dyrnn.initializers",
    "dyrnn.optimizers",
    "dyrnn.optimizers.hooks",
    "dyrnn.training",
    "dyrnn.training.triggers",
    "dyrnn.extensions",
    "dyrnn.iterators",
    "dyrnn.datasets",
    "dyrnn.serializers",
    "dyrnn.sampling",
    "dyrnn.metrics",
    "dyrnn.random",
    "dyrnn.interchange",
    "dyrnn.testing",
    "dyrnn.config",
]
# Rooms that may be there: a page each as soon as they are.
OPTIONAL = ["dyrnn.prediction", "dyrnn.distributed"]
# What parts of the library share, and a user has no use for.
INTERNAL = set(
    "is_every is_default interval_of Patience refuse_streams own_stream owner_number"
    " pair_of claim launched_processes in_scope serialize".split()
)
# What each example begins with.
SETUP = """\
from pathlib import Path

import numpy as np
import dyrnn
import dyrnn.functions as F
import dyrnn.links as L
from dyrnn.training import triggers

layers = dyrnn.Sequential(L.EmbedID(3, 8), L.LSTM(8, 16), L.Linear(16, 3))
model = L.Classifier(layers)
optimizer = dyrnn.optimizers.SGD(lr=0.1).setup(model)
iterator = dyrnn.iterators.WindowIterator(np.arange(400) % 3, batch_size=4, steps=10)
updater = dyrnn.training.BPTTUpdater(iterator, optimizer)
trainer = dyrnn.training.Trainer(updater, (2, "epoch"), out="result")
"""


def packages():
    """Return the modules of the reference, by name."""
    there = [name for name in OPTIONAL if importlib.util.find_spec(name)]
    return {name: importlib.import_module(name) for name in [*PACKAGES, *there]}


def public_names(module):
    """Return the public functions, classes and data of a module, in order.

    They are those of ``__all__``; without it, what a package imports from below itself,
    and what another module defines.
    """
    names = getattr(module, "__all__", None)
    if names is None:
        below = module.__name__
        names = [
            name
            for name, value in vars(module).items()
            if not name.startswith("_")
            and (getattr(value, "__module__", None) or "").startswith(below)
        ]
    found = {
        name: getattr(module, name)
        for name in names
        if name[0] != "_" and name not in INTERNAL
    }
    return {name: value for name, value in found.items() if not inspect.ismodule(value)}


def reference():
    """Return {package: {name: object}}, each object once."""
    seen, found = set(), {}
    for package, module in packages().items():
        found[package] = {
            name: value
            for name, value in public_names(module).items()
            if id(value) not in seen
        }
        seen |= {id(value) for value in found[package].values()}
    return found


def examples(package):
    """Return the examples of ``docs/names``: {name: lines of a doctest}.

    They are those that a docstring has not: what is shown here, no reader of the code
    has to pass by.
    """
    path = ROOT / "docs" / "names" / f"{package.removeprefix('dyrnn.')}.txt"
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    entries = [entry.split("\n") for entry in text.strip().split("\n\n") if entry]
    return {name: [line[4:] for line in lines] for name, *lines in entries}


def topics(names):
    """Group names by the file that defines them: {title: [name]}."""
    grouped = {}
    for name, value in names.items():
        module = importlib.import_module(getattr(value, "__module__", None) or "dyrnn")
        title = (inspect.getdoc(module) or "").partition("\n")[0]
        grouped.setdefault(title.rstrip(".:"), []).append(name)
    return grouped


def write_if_new(path, text):
    """Write a page, unless it is as it was: Sphinx reads again only what changed."""
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


def directive(value):
    """Return what documents an object: a class with its members, or a function."""
    if not inspect.isclass(value):
        return "autofunction" if callable(value) else "autodata", ""
    kind = "autoexception" if issubclass(value, BaseException) else "autoclass"
    return kind, "   :members:\n   :show-inheritance:\n"


def write_pages(folder):
    """Write a page for each name, and one for each package, with tables of its names.

    The table of contents has the packages only: with 400 names more on every page, the
    site would be twenty times as large.
    """
    folder.mkdir(exist_ok=True)
    index = ["Reference", "=========", "", ".. toctree::", "   :maxdepth: 1", ""]
    index += [f"   {package}.package" for package in packages()]
    index += ["", "The examples of names begin with", "", ".. code-block:: python", ""]
    index += ["   " + line for line in SETUP.split("\n")]
    write_if_new(folder / "index.rst", "\n".join([*index, ""]))
    for package, names in reference().items():
        doc = inspect.getdoc(importlib.import_module(package)) or ""
        title = f"``{package}``"
        lines = [title, "=" * len(title), "", doc.partition("\n\n")[0], ""]
        grouped = topics(names)
        for topic, members in grouped.items():
            if len(grouped) > 1:
                lines += [topic, "-" * len(topic), ""]
            lines += [".. autosummary::", ""]
            lines += [f"   ~{package}.{name}" for name in members]
            lines += [""]
        write_if_new(folder / f"{package}.package.rst", "\n".join(lines))
        for name, value in names.items():
            kind, options = directive(value)
            write_if_new(
                folder / f"{package}.{name}.rst",
                f":orphan:\n\n{name}\n{'=' * len(name)}\n\n"
                f"In :doc:`{package} <{package}.package>`.\n\n"
                f".. {kind}:: {package}.{name}\n{options}",
            )
