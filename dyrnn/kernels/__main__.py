"""What computes here, and why: ``python -m dyrnn.kernels``."""

from pathlib import Path

from dyrnn.config import config
from dyrnn.kernels import machine, native
from dyrnn.version import __version__


def main() -> None:
    """Print the kernels, threads and products that this process would use.

    And which dyrnn it is: in a checkout, Python finds that one before an installed one.
    """
    print(f"dyrnn      {__version__} in {Path(__file__).parents[1]}")
    kind, reason = native.start()
    if kind is None:
        print(f"kernels    in NumPy: {reason}")
    elif config.native:
        print(f"kernels    in C for {kind}: {reason}")
    else:
        print(f"kernels    in NumPy: DYRNN_NATIVE=0; those in C would run, for {kind}")
    print(f"threads    {machine.threads()}")
    core = machine.blas_core() or "an unknown processor"
    blas = f"NumPy's BLAS with kernels for {core}"
    if native.is_on():
        print(f"products   in C; gradients of weights by {blas}")
    else:
        few = "small ones as they lie" if machine.has_small_products() else "by rows"
        print(f"products   by {blas}, {few}")


if __name__ == "__main__":
    main()
