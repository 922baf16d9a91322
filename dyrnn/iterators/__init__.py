"""Iterators: which examples make the next mini-batch, and where an epoch ends.

Two families. Over a dataset of examples, ``next()`` returns a list of them:
``SerialIterator``, ``MultithreadIterator`` and ``MultiprocessIterator`` (which read
ahead) and ``BucketIterator`` (sequences of similar length together). Over one long
sequence, batches continue each other, for truncated backpropagation through time:
``ParallelSequentialIterator`` (any number of steps at a time, never ending) and
``WindowIterator`` (TensorFlow's cutting into windows, epoch by epoch).

Every iterator can be saved at any point with ``serialize`` and goes on exactly there.
"""

from dyrnn.iterators.base import Iterator
from dyrnn.iterators.bucket import BucketIterator, BucketOrderSampler
from dyrnn.iterators.prefetch import MultiprocessIterator, MultithreadIterator
from dyrnn.iterators.sequential import (
    ParallelSequentialIterator,
    WindowIterator,
    ptb_producer,
)
from dyrnn.iterators.serial import SerialIterator, ShuffleOrderSampler
