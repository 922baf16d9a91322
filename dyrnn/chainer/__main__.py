"""Run a script written for Chainer: ``python -m dyrnn.chainer script.py ARGS...``."""

import runpy
import sys
from pathlib import Path

from dyrnn.chainer.aliases import install


def main():
    """Give the script its own ``sys.argv`` and folder, as Python itself would."""
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        print("usage: python -m dyrnn.chainer script.py [ARGS...]")
        sys.exit(0 if len(sys.argv) > 1 else 2)
    install()
    del sys.argv[0]
    sys.path[0] = str(Path(sys.argv[0]).resolve().parent)
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
