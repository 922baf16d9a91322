"""Samples of a discrete distribution in constant time."""

import numpy as np

from dyrnn.chainer.device_resident import DeviceResident


class WalkerAlias(DeviceResident):
    """Walker's alias method: each bin holds at most two values.

    Parameters
    ----------
    probs : sequence of float
        Weights of the values 0, 1, ...

    References
    ----------
    Walker, "New fast method for generating discrete random numbers with arbitrary
    frequency distributions", Electronics Letters 10(8), 1974.
    """

    def __init__(self, probs):
        super().__init__()
        n = len(probs)
        prob = np.array(probs, np.float32)
        prob /= prob.sum()
        threshold = np.ones(n, np.float32)
        values = np.zeros(n * 2, np.int32)
        topped = 0  # bins that have a second value; those before `filled` have a first
        for filled, i in enumerate(np.lexsort((np.arange(n), prob))):
            p = float(prob[i]) * n
            while p > 1 and topped < filled:
                values[topped * 2 + 1] = i
                p -= 1.0 - float(threshold[topped])
                topped += 1
            threshold[filled] = p
            values[filled * 2] = i
        assert (values < n).all()
        self.threshold = threshold
        self.values = values

    @property
    def use_gpu(self):
        """Whether samples are drawn on a GPU."""
        return self.xp is not np

    def device_resident_accept(self, visitor):
        super().device_resident_accept(visitor)
        self.threshold = visitor.visit_array(self.threshold)
        self.values = visitor.visit_array(self.values)

    def sample(self, shape):
        """Return an array of samples, int32."""
        xp = self.xp
        place = xp.random.uniform(0, len(self.threshold), shape)
        index = xp.asarray(place).astype(np.int32)
        # The upper end may be drawn, too, where it is rounded.
        index = xp.minimum(index, len(self.threshold) - 1)
        rest = (place - index).astype(self.threshold.dtype)
        return self.values[index * 2 + (self.threshold[index] < rest)]
