"""Run a program written for Chainer: ``python -m dyrnn.chainer script.py ARGS...``."""

import os
import runpy
import sys
import types
from pathlib import Path

from dyrnn.chainer import old_sources
from dyrnn.chainer.aliases import install
from dyrnn.chainer.unedited import prepare

USAGE = "usage: python -m dyrnn.chainer script.py [ARGS...] | -m MODULE [ARGS...]"


def main():
    """Give the program its own ``sys.argv`` and folder, as Python itself would."""
    args = sys.argv[1:]
    if not args or args[0] in ("-h", "--help") or args == ["-m"]:
        print(USAGE)
        sys.exit(2 if args in ([], ["-m"]) else 0)
    if args[0] != "-m" and (os.path.isdir(args[0]) or not os.path.exists(args[0])):
        print(f"dyrnn.chainer: there is no file {args[0]!r}. {USAGE}", file=sys.stderr)
        sys.exit(2)
    install()
    if args[0] == "-m":
        sys.path[0] = os.getcwd()
        prepare(sys.path[0])
        sys.argv = args[1:]
        runpy.run_module(args[1], run_name="__main__", alter_sys=True)
    else:
        sys.path[0] = str(Path(args[0]).resolve().parent)
        prepare(sys.path[0])
        sys.argv = args
        run_script(args[0])


def run_script(path):
    """Run a file as the module ``__main__``."""
    module = types.ModuleType("__main__")
    module.__file__ = path
    sys.modules["__main__"] = module
    exec(old_sources.compiled(Path(path).read_bytes(), path), vars(module))


if __name__ == "__main__":
    main()
