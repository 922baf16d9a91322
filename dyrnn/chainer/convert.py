"""Weights of models trained with Chainer, for layers of ``dyrnn.links``, and back.

A model of dyrnn with the same names of layers as the Chainer model takes its weights::

    from dyrnn.chainer.convert import load_chainer_npz

    load_chainer_npz("model.npz", model)
    load_chainer_npz("snapshot_iter_1000", model, "updater/model:main/")

They are what :mod:`dyrnn.interchange` does for the system ``"chainer"``, with defaults
for Chainer's files: what else is in a snapshot may be left over. Nothing is unpickled.
"""

from dyrnn.chainer.serializers.dictionaries import save_npz
from dyrnn.interchange import to_arrays
from dyrnn.interchange.transfer import load_npz


def load_chainer_npz(file, link, path="", strict=True):
    """Load a file of Chainer's ``save_npz``, or part of a snapshot, into a link.

    Parameters
    ----------
    file : str or path-like
    link : dyrnn.Link
    path : str
        Where in the file the model is: ``"updater/model:main/"`` in a snapshot,
        ``"updater/model:main/predictor/"`` for the predictor of a Classifier.
    strict : bool
        Whether a missing array is an error; else its layer stays as it is.

    Raises
    ------
    InterchangeError
        If an array is missing or has another shape than the parameter, all of which
        are listed; if the file is damaged; or if the link has a layer that Chainer does
        not have in this form. The link is then as it was.
    """
    load_npz(file, link, {"": path.strip("/")}, ["*"], is_partial=not strict)


def save_chainer_npz(file, link, compression=True):
    """Save a link's weights as Chainer's ``save_npz`` does; it loads them."""
    save_npz(file, to_arrays(link, "chainer"), compression)
