"""Chainer's names, versions 1 to 7, for scripts about text, recurrent nets and MLPs.

``import dyrnn.chainer as chainer`` in an edited script, ``python -m dyrnn.chainer
script.py ARGS...`` for an unedited one, :func:`install` in a running process.

Where things are: ``variable``, ``function_node``, ``function``, ``_backprop`` are an
engine with Chainer's semantics, on NumPy or CuPy arrays through ``backend``;
``bridge.py`` turns a function of dyrnn into one for this engine, derivatives of any
order included; ``link``, ``sequential``, ``reporter``, ``configuration``,
``gradient_check``, ``testing``, ``utils``, ``initializers`` are Chainer's modules of
these names. ``functions`` and ``links`` are cut by topic, not one file for each name:
``aliases.py`` answers for Chainer's paths. All legacy lives in this package; the rest
of dyrnn does not know it.
"""

from dyrnn.chainer.aliases import install

__all__ = ["install"]
