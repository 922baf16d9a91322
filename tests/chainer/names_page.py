"""Bring the page of Chainer's names up to date: ``python -m tests.chainer.names_page``.

What the package no longer has leaves the page; what ``absent.py`` gives advice on
stands under its module. Names that are new to the package are added by hand.
"""

import importlib
import re
from pathlib import Path

from dyrnn import chainer
from dyrnn.chainer import absent

PAGE = Path(__file__).parents[2] / "docs" / "chainer_names.md"


def sections(text):
    """Return {module below ``chainer``: names that the page calls present}."""
    found = {}
    for part in text.split("\n## ")[1:]:
        module = part.partition("\n")[0].strip("`").removeprefix("chainer").strip(".")
        present = re.search("^Present: (.*)$", part, re.M)
        found[module] = re.findall(r"`(\w+)`", present.group(1)) if present else []
    return found


def has(module, name):
    return hasattr(importlib.import_module(f"chainer.{module}".rstrip(".")), name)


def updated(text):
    """Return the page as it should be."""
    chainer.install()
    parts = [text.partition("\n## ")[0].rstrip()]
    for module, names in sections(text).items():
        parts.append(f"## `chainer.{module}`".replace(".`", "`"))
        names = [name for name in names if has(module, name)]
        parts.append(f"Present: {quoted(names)}.")
        parts += [
            f"Absent: {quoted(names.split())} ({advice})."
            for names, advice in absent.TABLE.get(module, {}).items()
        ]
    return "\n\n".join(parts) + "\n"


def quoted(names):
    return ", ".join(f"`{name}`" for name in names)


if __name__ == "__main__":
    PAGE.write_text(updated(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
