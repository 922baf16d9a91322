"""Plain objects with a ``serialize`` method, to be saved and loaded."""

import numpy as np


class Layer:
    def __init__(self, seed=0, shape=(3, 4)):
        rng = np.random.default_rng(seed)
        self.W = rng.random(shape).astype(np.float32)
        self.b = rng.random(shape[1:]).astype(np.float32)

    def serialize(self, s):
        self.W = s("W", self.W)
        self.b = s("b", self.b)


class Model:
    """Two layers and one value of each kind."""

    def __init__(self, seed=0):
        self.l1, self.l2 = Layer(seed), Layer(seed + 1, (4, 2))
        self.iteration = seed
        self.values = {
            "rate": 0.5 + seed,
            "best": float("inf") if seed else 0.0,
            "training": bool(seed % 2),
            "name": f"model {seed}",
            "log": [{"loss": seed, "text": "é"}, None],
            "order": (seed, 1),
        }

    def serialize(self, s):
        self.iteration = s("iteration", self.iteration)
        self.l1.serialize(s["l1"])
        self.l2.serialize(s["l2"])
        for key in self.values:
            self.values[key] = s(key, self.values[key])

    def state(self):
        """Return everything, comparable."""
        arrays = [self.l1.W, self.l1.b, self.l2.W, self.l2.b]
        return [a.tobytes() for a in arrays], self.iteration, repr(self.values)


class One:
    """A single value under a single key."""

    def __init__(self, value, key="x"):
        self.value, self.key = value, key

    def serialize(self, s):
        self.value = s(self.key, self.value)
