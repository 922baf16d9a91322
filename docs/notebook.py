"""Make the notebook of a page: ``python docs/notebook.py docs/tutorial.md``."""

import json
import re
import sys
from pathlib import Path


def cells(text):
    """Return ``(kind, source)`` of each cell: blocks, and what is between them."""
    parts = re.split(r"^```python\n(.*?)^```\n", text, flags=re.MULTILINE | re.DOTALL)
    kinds = ["markdown", "code"] * len(parts)
    found = [(kind, part.strip()) for kind, part in zip(kinds, parts, strict=False)]
    return [(kind, source) for kind, source in found if source]


def notebook(text):
    """Return a page as the text of an ``.ipynb`` file."""
    made = [
        {
            "cell_type": kind,
            "id": f"cell-{number}",
            "metadata": {},
            "source": source.splitlines(keepends=True),
        }
        | ({"execution_count": None, "outputs": []} if kind == "code" else {})
        for number, (kind, source) in enumerate(cells(text))
    ]
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    whole = {
        "cells": made,
        "metadata": {"kernelspec": kernel, "language_info": {"name": "python"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    return json.dumps(whole, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for name in sys.argv[1:]:
        page = Path(name)
        text = notebook(page.read_text(encoding="utf-8"))
        page.with_suffix(".ipynb").write_text(text, encoding="utf-8")
