"""Chainer's names ``chainer.memory_layouts``: arrays have the usual order of axes.

The other orders served cuDNN, which CuPy no longer has.
"""

CUDNN_CHANNEL_FIRST_X = None
CUDNN_CHANNEL_FIRST_W = None
CUDNN_CHANNEL_LAST_X = "CUDNN_CHANNEL_LAST_X"
CUDNN_CHANNEL_LAST_W = "CUDNN_CHANNEL_LAST_W"
