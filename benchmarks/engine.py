"""Time per node of a small graph: ``y = tanh(x * a + b)`` on 10 elements.

Three nodes forward, backward, and gradients of a and b cleared. Every library that can
be imported takes part: dyrnn, PyTorch, HIPS autograd, Chainer. They run in turn;
minimum, median and maximum over the rounds, in microseconds per node.
"""

import argparse
import statistics
import time

import numpy as np

NODES = 3
REPEATS = 1000


def dyrnn_graph():
    import dyrnn
    import dyrnn.functions as F

    a, b = (dyrnn.Parameter(np.full(10, v, np.float32)) for v in (0.5, 0.1))
    x = np.ones(10, np.float32)

    def run():
        y = F.tanh(x * a + b)
        y.grad = x
        y.backward()
        a.cleargrad()
        b.cleargrad()

    return run


def torch_graph():
    import torch

    torch.set_num_threads(1)
    a, b = (torch.full((10,), v, requires_grad=True) for v in (0.5, 0.1))
    x = torch.ones(10)

    def run():
        y = torch.tanh(x * a + b)
        y.backward(x)
        a.grad = b.grad = None

    return run


def autograd_graph():
    import autograd.numpy as anp
    from autograd import make_vjp

    x = np.ones(10, np.float32)
    a, b = np.full(10, 0.5, np.float32), np.full(10, 0.1, np.float32)

    def graph(parameters):
        return anp.tanh(x * parameters[0] + parameters[1])

    def run():
        vjp, _ = make_vjp(graph)((a, b))
        vjp(x)

    return run


def chainer_graph():
    import chainer
    import chainer.functions as F

    a, b = (chainer.Parameter(np.full(10, v, np.float32)) for v in (0.5, 0.1))
    x = np.ones(10, np.float32)

    def run():
        y = F.tanh(x * a + b)
        y.grad = x
        y.backward()
        a.cleargrad()
        b.cleargrad()

    return run


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    args = parser.parse_args()
    runs = {}
    for make in (dyrnn_graph, torch_graph, autograd_graph, chainer_graph):
        name = make.__name__.removesuffix("_graph")
        try:
            runs[name] = make()
            runs[name]()
        except Exception as error:
            print(f"{name}: left out ({type(error).__name__}: {error})")
    times = {name: [] for name in runs}
    for _ in range(args.rounds):
        for name, run in runs.items():
            began = time.perf_counter()
            for _ in range(REPEATS):
                run()
            spent = time.perf_counter() - began
            times[name].append(spent / REPEATS / NODES * 1e6)
    for name, values in times.items():
        print(
            f"{name:9} {min(values):6.2f} {statistics.median(values):6.2f} "
            f"{max(values):6.2f} us/node (min, median, max)"
        )


if __name__ == "__main__":
    main()
