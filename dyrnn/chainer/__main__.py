"""Run a program written for Chainer: ``python -m dyrnn.chainer script.py ARGS...``."""

import os
import runpy
import sys
from pathlib import Path

from dyrnn.chainer.aliases import install

USAGE = "usage: python -m dyrnn.chainer script.py [ARGS...] | -m MODULE [ARGS...]"


def main():
    """Give the program its own ``sys.argv`` and folder, as Python itself would."""
    args = sys.argv[1:]
    if not args or args[0] in ("-h", "--help") or args == ["-m"]:
        print(USAGE)
        sys.exit(2 if args in ([], ["-m"]) else 0)
    install()
    if args[0] == "-m":
        sys.path[0] = os.getcwd()
        sys.argv = args[1:]
        runpy.run_module(args[1], run_name="__main__", alter_sys=True)
    else:
        sys.path[0] = str(Path(args[0]).resolve().parent)
        sys.argv = args
        runpy.run_path(args[0], run_name="__main__")


if __name__ == "__main__":
    main()
