"""Batches one after the other, in this thread."""

from dyrnn.chainer.iterators.ordering import OrderedIterator


class SerialIterator(OrderedIterator):
    """Batches of a dataset, as lists of examples.

    Parameters
    ----------
    dataset : sequence
    batch_size : int
    repeat : bool
        Whether to go on after the last example; else the last batch may be smaller.
    shuffle : bool, optional
        Whether each epoch has a new order. By default it does.
    order_sampler : callable, optional
        Gives the order instead; see :class:`OrderSampler`.
    """

    def __init__(
        self, dataset, batch_size, repeat=True, shuffle=None, order_sampler=None
    ):
        super().__init__(dataset, batch_size, repeat, shuffle, order_sampler)
