"""Chainer's names ``chainer.backends``."""

from dyrnn.chainer.backends import _cpu, cuda, intel64

__all__ = ["_cpu", "cuda", "intel64"]
