"""The matrix products of one training step alone: the limit for any program.

Each product is done in the form that is fastest here (see dyrnn.kernels), on random
data, with nothing in between. Words per second of this "step" bound those of a step
that multiplies with the same BLAS.
"""

import harness

args, config = harness.arguments(__doc__, modes=("window",))

import numpy as np

from dyrnn.kernels import matmul

H, T = config["hidden"], config["steps"]
B, V, N = harness.BATCH, harness.VOCABULARY, config["steps"] * harness.BATCH
random = np.random.default_rng(0)


def array(*shape):
    return random.standard_normal(shape, dtype=np.float32)


def main():
    x, gates, h, dz = array(N, H), array(N, 4 * H), array(B, H), array(B, 4 * H)
    to_gates, to_hidden, W = array(H, 4 * H), array(4 * H, H), array(V, H)
    logits, small, step_out, step_in = (
        np.empty(shape, np.float32) for shape in ((N, V), (N, H), (B, 4 * H), (B, H))
    )
    gW, g_gates = np.empty((V, H), np.float32), np.empty((4 * H, H), np.float32)

    def step():
        for _ in range(2):  # layers
            matmul(x, to_gates, out=gates)
            for _ in range(T):
                np.matmul(h, to_gates, out=step_out)
            for _ in range(T):
                np.matmul(dz, to_hidden, out=step_in)
            matmul(gates, to_hidden, out=small)
            for _ in range(2):  # input and recurrent weights
                matmul(gates.T, x, out=g_gates)
        matmul(x, W.T, out=logits)
        matmul(logits, W, out=small)
        matmul(logits.T, x, out=gW)
        return 0.0

    harness.run("gemm", args, step)


if __name__ == "__main__":
    main()
