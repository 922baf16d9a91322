"""Chainer's names ``chainer.testing``."""
