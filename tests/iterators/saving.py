"""A serializer into a dictionary, through JSON where it is not an array."""

import json

import numpy as np


class Saved:
    def __init__(self, values=None, prefix="", loading=False):
        self.values = {} if values is None else values
        self.prefix = prefix
        self.loading = loading

    def __getitem__(self, key):
        return Saved(self.values, f"{self.prefix}{key}/", self.loading)

    def __call__(self, key, value):
        key = self.prefix + key
        if self.loading:
            stored = self.values[key]
            return stored.copy() if isinstance(stored, np.ndarray) else stored
        assert key not in self.values, f"{key} is saved twice"
        if isinstance(value, np.ndarray):
            self.values[key] = value.copy()
        else:
            self.values[key] = json.loads(json.dumps(value))
            assert self.values[key] == value
        return value

    def has(self, key):
        return not self.loading or self.prefix + key in self.values

    def reader(self):
        return Saved(self.values, loading=True)


def save(thing):
    saved = Saved()
    thing.serialize(saved)
    return saved


def load(saved, thing):
    thing.serialize(saved.reader())
    return thing
