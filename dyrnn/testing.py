"""Checks for functions of one's own: are the gradients right?

A gradient is compared with differences of the function itself, in float64, by a stencil
of fourth order: five points lie on a polynomial whose slope in the middle is exact to
about 1e-11. Keep inputs that far (``4 * STEP``) from kinks, such as 0 for a rectifier.

>>> import numpy as np
>>> import dyrnn.functions as F
>>> check_backward(lambda x, y: F.tanh(x * y), [np.ones((2, 3)), np.ones(3)])
"""

import numpy as np

from dyrnn import backend
from dyrnn.engine.core import Variable, as_array
from dyrnn.engine.higher_order import grad

STEP = 2e-3
_STENCIL = ((-2, 1 / 12), (-1, -8 / 12), (1, 8 / 12), (2, -1 / 12))


def assert_allclose(actual, desired, rtol=1e-5, atol=1e-6):
    """Raise AssertionError unless two arrays or variables, on any device, agree."""
    np.testing.assert_allclose(_host(actual), _host(desired), rtol=rtol, atol=atol)


def check_backward(function, inputs, seed=0, rtol=1e-7, atol=1e-9):
    """Check the gradient of a function along one random direction.

    Parameters
    ----------
    function : callable
        Takes as many variables as there are inputs, and returns one or a sequence.
    inputs : sequence of arrays
        Floating ones are converted to float64 and differentiated.
    seed : int
        Of the direction, and of the weights of the outputs.
    rtol, atol : float
        How far the two numbers may differ.

    Raises
    ------
    AssertionError
        If the gradient is wrong.
    """
    inputs = _in_double(inputs)
    rng = np.random.default_rng(seed)
    directions = [_random_like(rng, x) if _is_float(x) else None for x in inputs]
    weights = [_random_like(rng, y) for y in _outputs(function, inputs)]
    slopes = _slopes(function, inputs, directions)
    expected = sum(
        float((_host(s) * _host(w)).sum()) for s, w in zip(slopes, weights, strict=True)
    )
    found = sum(
        float((_host(g) * _host(d)).sum())
        for g, d in zip(_gradients(function, inputs, weights), directions, strict=True)
        if g is not None
    )
    np.testing.assert_allclose(
        found, expected, rtol, atol, err_msg="the gradient along a random direction"
    )


def check_jacobian(function, inputs, rtol=1e-7, atol=1e-9):
    """Check the derivative of each output element by each input element.

    Parameters are those of :func:`check_backward`. The cost grows with the number of
    elements, so give few.
    """
    inputs = _in_double(inputs)
    outputs = _outputs(function, inputs)
    rows = []
    for i, y in enumerate(outputs):
        for k in range(y.size):
            weights = [None] * len(outputs)
            weights[i] = _one_hot(y, k)
            rows.append(_gradients(function, inputs, weights))
    for j, x in enumerate(inputs):
        if not _is_float(x):
            continue
        found = np.zeros((len(rows), x.size))
        for row, gradients in zip(found, rows, strict=True):
            if gradients[j] is not None:
                row[...] = _host(gradients[j]).reshape(-1)
        expected = np.zeros_like(found)
        for k in range(x.size):
            directions = [None] * len(inputs)
            directions[j] = _one_hot(x, k)
            slopes = _slopes(function, inputs, directions)
            expected[:, k] = np.concatenate([_host(s).reshape(-1) for s in slopes])
        np.testing.assert_allclose(
            found,
            expected,
            rtol,
            atol,
            err_msg=f"elements of all outputs (rows) by those of input {j} (columns)",
        )


def check_double_backward(function, inputs, seed=0, rtol=1e-7, atol=1e-9):
    """Check the gradient of the gradient of a function along one random direction.

    Parameters are those of :func:`check_backward`.
    """
    inputs = _in_double(inputs)
    rng = np.random.default_rng(seed + 1)
    weights = [_random_like(rng, y) for y in _outputs(function, inputs)]

    def gradient(*arguments):
        xs, gys = arguments[: len(inputs)], arguments[len(inputs) :]
        wanted = [v for v, x in zip(xs, inputs, strict=True) if _is_float(x)]
        found = grad(_sequence(function(*xs)), wanted, gys, create_graph=True)
        # An input that does not matter has gradient 0, whatever the others are.
        return [x * 0.0 if g is None else g for x, g in zip(wanted, found, strict=True)]

    check_backward(gradient, [*inputs, *weights], seed, rtol, atol)


def _host(x):
    x = as_array(x)
    return backend.to_cpu(x) if backend.is_array(x) else np.asarray(x)


def _is_float(x):
    return x.dtype.kind == "f"


def _in_double(inputs):
    return [x.astype(np.float64) if _is_float(x) else x for x in inputs]


def _random_like(rng, x):
    return backend.device_of(x).send(rng.uniform(-1, 1, x.shape))


def _one_hot(x, k):
    y = np.zeros(x.shape)
    y.reshape(-1)[k] = 1
    return backend.device_of(x).send(y)


def _sequence(outputs):
    return [outputs] if isinstance(outputs, Variable) else list(outputs)


def _outputs(function, arrays):
    results = _sequence(function(*[Variable(x) for x in arrays]))
    return [y.array for y in results if isinstance(y, Variable)]


def _gradients(function, inputs, weights):
    xs = [Variable(x, requires_grad=_is_float(x)) for x in inputs]
    pairs = [
        (y, w)
        for y, w in zip(_sequence(function(*xs)), weights, strict=True)
        if w is not None and y.requires_grad
    ]
    if not pairs:
        return [None] * len(xs)
    ys, gys = zip(*pairs, strict=True)
    found = iter(grad(ys, [x for x in xs if x.requires_grad], gys))
    return [next(found) if x.requires_grad else None for x in xs]


def _slopes(function, inputs, directions):
    """Return how each output changes when the inputs move along the directions."""
    slopes = None
    for steps, weight in _STENCIL:
        moved = [
            x if d is None else x + d * (steps * STEP)
            for x, d in zip(inputs, directions, strict=True)
        ]
        terms = [y * (weight / STEP) for y in _outputs(function, moved)]
        slopes = (
            terms
            if slopes is None
            else [s + term for s, term in zip(slopes, terms, strict=True)]
        )
    return slopes
