"""The same training step in JAX: windows by lax.scan, in one compiled function."""

import harness

args, config = harness.arguments(__doc__, ("window",))

import jax
import jax.numpy as jnp
import numpy as np

from dyrnn.datasets import load_corpus
from dyrnn.iterators import WindowIterator


def lstm(layer, x, state, dropout, key):
    """Run a layer over x (T, B, I); one bias, gates i, f, g, o."""
    z = x @ layer["W"] + layer["b"]

    def step(state, z):
        h, c = state
        i, f, g, o = jnp.split(z + h @ layer["U"], 4, axis=1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h

    state, h = jax.lax.scan(step, state, z)
    return drop(h, dropout, key), state


def drop(x, ratio, key):
    if not ratio:
        return x
    return jnp.where(jax.random.uniform(key, x.shape) >= ratio, x / (1 - ratio), 0)


def loss(model, states, key, x, t, dropout):
    keys = jax.random.split(key, 3)
    h = drop(model["embed"][x], dropout, keys[0])
    after = []
    for layer, state, each in zip(model["layers"], states, keys[1:], strict=True):
        h, state = lstm(layer, h, state, dropout, each)
        after.append(state)
    scores = jax.nn.log_softmax(h @ model["V"] + model["d"])
    picked = jnp.take_along_axis(scores, t[..., None], axis=2)
    return -picked.mean(), after


def main():
    H, V, dropout = config["hidden"], harness.VOCABULARY, config["dropout"]
    rng = np.random.default_rng(0)

    def draw(*shape):
        return jnp.asarray(
            rng.uniform(-config["init"], config["init"], shape), jnp.float32
        )

    model = {
        "embed": draw(V, H),
        "layers": [
            {"W": draw(H, 4 * H), "U": draw(H, 4 * H), "b": draw(4 * H)}
            for _ in range(2)
        ],
        "V": draw(H, V),
        "d": draw(V),
    }
    zeros = jnp.zeros((harness.BATCH, H), jnp.float32)
    kept = [model, [(zeros, zeros)] * 2, jax.random.key(0)]
    windows = WindowIterator(
        load_corpus(args.data).train, harness.BATCH, config["steps"]
    )

    @jax.jit
    def update(model, states, key, x, t):
        key, now = jax.random.split(key)
        (value, states), gradients = jax.value_and_grad(loss, has_aux=True)(
            model, states, now, x, t, dropout
        )
        # PyTorch's and dyrnn's loss is the sum over the window's steps
        gradients = jax.tree.map(lambda g: g * len(x), gradients)
        norm = jnp.sqrt(sum((g**2).sum() for g in jax.tree.leaves(gradients)))
        rate = jnp.minimum(1, config["clip"] / norm)
        model = jax.tree.map(lambda p, g: p - rate * g, model, gradients)
        return model, states, key, value

    def step():
        x, t = windows.next()
        *kept[:], value = update(*kept, x, t)
        return value

    harness.run("jax:window", args, step)


if __name__ == "__main__":
    main()
