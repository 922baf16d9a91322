"""Weights of models trained with Chainer, for layers of ``dyrnn.links``, and back.

A model of dyrnn with the same names of layers as the Chainer model takes its weights::

    from dyrnn.chainer.convert import load_chainer_npz

    load_chainer_npz("model.npz", model)
    load_chainer_npz("snapshot_iter_1000", model, "updater/model:main/")

Most layers have the same parameters. Those below differ: Chainer's LSTM interleaves its
gates, rows a, i, f, o of unit 0, then of unit 1, ..., and its layers over lists of
sequences have a matrix for each gate. Nothing is unpickled.
"""

import numpy as np

from dyrnn import links as L
from dyrnn.backend import to_cpu
from dyrnn.chainer.serializers.dictionaries import save_npz
from dyrnn.links.recurrent_stacks import _NStep

# Layers whose parameters have no counterpart in Chainer.
_UNKNOWN = (L.GRU, L.ElmanRNN, L.JordanRNN, L.MGU, L.StatefulPeepholeLSTM)
_UNKNOWN_TREES = (L.ChildSumTreeLSTM, L.NaryTreeLSTM)


def load_chainer_npz(file, link, path="", strict=True):
    """Load a file of Chainer's ``save_npz``, or part of a snapshot, into a link.

    Parameters
    ----------
    file : str or file
    link : dyrnn.Link
    path : str
        Where in the file the model is: ``"updater/model:main/"`` in a snapshot,
        ``"updater/model:main/predictor/"`` for the predictor of a Classifier.
    strict : bool
        Whether a missing array is an error; else its layer stays as it is.

    Raises
    ------
    KeyError
        If an array is missing.
    ValueError
        If an array has another shape than the parameter.
    TypeError
        If the link has a layer that Chainer does not have in this form.
    """
    path = path.strip("/") + "/" if path.strip("/") else ""
    with np.load(file, allow_pickle=False) as npz:
        for place, layout in _layouts(link):
            keys = layout.keys()
            missing = [f"{path}{place}{k}" for k in keys if path + place + k not in npz]
            if missing and strict:
                raise KeyError(
                    f"the file has no array {missing[0]!r}. It has {_some(npz.files)}. "
                    "Name the layers as in the Chainer model, say with `path` where "
                    "the model is, or pass strict=False."
                )
            if not missing:
                layout.load({key: npz[path + place + key] for key in keys})


def save_chainer_npz(file, link, compression=True):
    """Save a link's weights as Chainer's ``save_npz`` does; it loads them."""
    arrays = {}
    for place, layout in _layouts(link):
        for key, array in layout.save().items():
            arrays[place + key] = array
    save_npz(file, arrays, compression)


def _some(names, n=5):
    more = f" and {len(names) - n} more" if len(names) > n else ""
    return ", ".join(names[:n]) + more


def _layouts(link, place=""):
    """Yield (path, layout) of a link and those below it."""
    if isinstance(link, (*_UNKNOWN, *_UNKNOWN_TREES)):
        raise TypeError(
            f"{type(link).__name__} at {place or 'the top'} has no counterpart in "
            "Chainer with the same weights. StatefulGRU is Chainer's GRU; LSTM and the "
            "NStep layers convert, too."
        )
    if isinstance(link, (L.LSTM, L.StatelessLSTM, L.StatefulZoneoutLSTM)):
        yield place, _InterleavedLSTM(link)
    elif isinstance(link, _NStep):
        for i, layer in enumerate(link):
            yield f"{place}{i}/", _ByGate(link, layer)
    else:
        yield place, _Same(link)
        for child in link.children():
            yield from _layouts(child, f"{place}{child.name}/")


def _set(link, name, array):
    """Give a parameter, or a persistent value, its array."""
    target = getattr(link, name)
    if name not in link._params:
        value = np.asarray(target)
        setattr(link, name, link.device.send(array.astype(value.dtype)))
        return
    if target.array is None:
        target.initialize(array.shape)
    if target.shape != array.shape:
        raise ValueError(
            f"{type(link).__name__}: {name} has shape {target.shape}, the array in the "
            f"file {array.shape}. Create the layer with the sizes of the Chainer model."
        )
    target.array[...] = target.device.send(array.astype(target.dtype))


class _Same:
    """Parameters and persistent values under their own names."""

    def __init__(self, link):
        self.link = link

    def keys(self):
        return [*self.link._params, *self.link._persistent]

    def load(self, arrays):
        for name, array in arrays.items():
            _set(self.link, name, array)

    def save(self):
        values = {name: getattr(self.link, name) for name in self.keys()}
        return {k: to_cpu(getattr(v, "array", v)) for k, v in values.items()}


class _InterleavedLSTM:
    """Rows a, i, f, o of each unit in turn, where ours are blocks i, f, g, o."""

    def __init__(self, link):
        self.layers = {"upward": link.upward, "lateral": link.lateral}

    def _params(self):
        for place, layer in self.layers.items():
            yield from ((f"{place}/{n}", layer, n) for n in layer._params)

    def keys(self):
        return [key for key, _, _ in self._params()]

    def load(self, arrays):
        for key, layer, name in self._params():
            units = arrays[key].reshape(-1, 4, *arrays[key].shape[1:])
            blocks = units[:, [1, 2, 0, 3]].swapaxes(0, 1)
            _set(layer, name, blocks.reshape(arrays[key].shape))

    def save(self):
        arrays = {}
        for key, layer, name in self._params():
            array = to_cpu(getattr(layer, name).array)
            blocks = array.reshape(4, -1, *array.shape[1:])
            arrays[key] = blocks[[2, 0, 1, 3]].swapaxes(0, 1).reshape(array.shape)
        return arrays


class _ByGate:
    """A matrix and a bias ``w0, b0, ...`` for each gate, the input's before h's."""

    def __init__(self, stack, layer):
        self.n = stack.n_gates
        self.has_two_biases = stack.n_biases == 2
        self.layer = layer

    def keys(self):
        return [f"{kind}{i}" for kind in "wb" for i in range(2 * self.n)]

    def load(self, arrays):
        def stacked(kind, first):
            return np.concatenate(
                [arrays[f"{kind}{i}"] for i in range(first, first + self.n)]
            )

        _set(self.layer, "W", stacked("w", 0))
        _set(self.layer, "U", stacked("w", self.n))
        b, b_u = stacked("b", 0), stacked("b", self.n)
        _set(self.layer, "b", b if self.has_two_biases else b + b_u)
        if self.has_two_biases:
            _set(self.layer, "b_u", b_u)

    def save(self):
        layer = self.layer
        W, U, b = (to_cpu(p.array) for p in (layer.W, layer.U, layer.b))
        b_u = to_cpu(layer.b_u.array) if self.has_two_biases else np.zeros_like(b)
        parts = [part for a in (W, U, b, b_u) for part in np.split(a, self.n)]
        return dict(zip(self.keys(), parts, strict=True))
