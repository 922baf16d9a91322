"""Sources of old programs, changed in memory as ``modernize`` would change them.

Only files in the program's own folder are, and one line on stderr says so of each.
"""

import importlib.util
import sys
from importlib.machinery import PathFinder, SourceFileLoader
from pathlib import Path

_LIBRARIES = ("dyrnn", "chainer", "chainermn", "chainerx")


def install(folder):
    """Compile the modules of the program in ``folder`` as its script."""
    sys.meta_path.insert(sys.meta_path.index(PathFinder), _Finder(folder))


def compiled(source, path):
    """Compile the source of an old program."""
    text = importlib.util.decode_source(source)
    return compile(changed(text, path), str(path), "exec", dont_inherit=True)


def changed(text, path):
    """Return the text to compile, and say on stderr where it is not the file's."""
    # Here, so that ``python -m dyrnn.chainer.modernize`` finds it not imported yet.
    from dyrnn.chainer.modernize import modernized

    try:
        new = modernized(text)
    except SyntaxError:
        return text  # compiling it says where
    numbers = [
        str(number)
        for number, (a, b) in enumerate(
            zip(text.splitlines(), new.splitlines(), strict=True), 1
        )
        if a != b
    ]
    if numbers:
        print(
            f"dyrnn.chainer: {path} was changed in memory for NumPy {_lines(numbers)}; "
            "`python -m dyrnn.chainer.modernize` shows how",
            file=sys.stderr,
        )
    return new


def _lines(numbers):
    more = ", ..." if len(numbers) > 10 else ""
    return f"in line{'s'[: len(numbers) - 1]} {', '.join(numbers[:10])}{more}"


def cell(lines):
    """Change a cell of a notebook, given and returned as its lines."""
    return changed("".join(lines), "this cell").splitlines(keepends=True)


class _Loader(SourceFileLoader):
    """Loads a module of a program as its script; its bytecode is not kept."""

    def get_code(self, fullname):
        return compiled(self.get_data(self.path), self.path)


class _Finder:
    """Finds modules where Python does, and those of the program's folder for itself."""

    def __init__(self, folder):
        self.folder = Path(folder).resolve()

    def find_spec(self, fullname, path=None, target=None):
        if fullname.partition(".")[0] in _LIBRARIES:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is None or type(spec.loader) is not SourceFileLoader:
            return None
        file = Path(spec.origin).resolve()
        if self.folder not in file.parents or "site-packages" in file.parts:
            return None
        spec.loader = _Loader(fullname, spec.origin)
        return spec
