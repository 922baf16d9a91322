"""Chainer's names ``chainer.backends``."""
