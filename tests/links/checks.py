"""Checks that the tests of several links share."""

from tests.arrays import xp


def randomize(link, rng, scale=0.5):
    """Fill all parameters, also biases, with random values; return the link."""
    for param in link.params():
        param.array[...] = scale * rng.normal(size=param.shape)
    return link


def check_parameter_gradients(link, loss, rng, step=5e-4, rtol=1e-7):
    """Compare the gradients of ``loss()`` with its slope along a random direction."""
    params = list(link.params())
    link.cleargrads()
    loss().backward()
    assert all(param.grad is not None for param in params)
    directions = [rng.normal(size=param.shape) for param in params]
    found = sum((p.grad * d).sum() for p, d in zip(params, directions, strict=True))
    starts = [param.array.copy() for param in params]

    def at(t):
        for param, start, d in zip(params, starts, directions, strict=True):
            param.array[...] = start + t * d
        return float(loss().array)

    slope = 8 * (at(step) - at(-step)) - (at(2 * step) - at(-2 * step))
    at(0)
    xp.testing.assert_allclose(found, slope / (12 * step), rtol=rtol, atol=1e-9)
