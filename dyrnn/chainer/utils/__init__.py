"""Chainer's names ``chainer.utils``."""
