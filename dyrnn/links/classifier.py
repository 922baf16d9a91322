"""A model with its loss: what a trainer optimises and what is reported about it."""

from collections.abc import Callable
from typing import Any

import dyrnn.functions as F
from dyrnn import reporter
from dyrnn.engine.core import Variable
from dyrnn.kernels import labels
from dyrnn.link import Chain, Link

IGNORED = -1  # as F.softmax_cross_entropy has it
_SAID_OTHERWISE = {
    "compute_accuracy": "say Classifier(model, accfun=None) for none.",
    "ignore_label": f"labels of {IGNORED} do not count; accfun may say otherwise.",
}


def accuracy(y, t):
    """Return the share of right predictions among the labels that count."""
    return F.accuracy(y, t, IGNORED)


class Classifier(Chain):
    """Loss, and accuracy, of a predictor against labels; both are reported.

    Labels of -1 count neither in the accuracy nor in the means of what is reported;
    ``lossfun`` and ``accfun`` may say otherwise, by the ``count`` of their results.

    Parameters
    ----------
    predictor : Link
        Computes ``y`` from all arguments but the labels.
    lossfun, accfun : callable
        Called as ``lossfun(y, t)``. With ``accfun=None`` there is no accuracy.
    label_key : int or str
        Which positional or keyword argument holds the labels.

    Attributes
    ----------
    y, loss, accuracy : Variable
        Of the last call.

    Examples
    --------
    >>> model = Classifier(lambda x: x)
    >>> x = np.array([[0.0, 100.0]], np.float32)
    >>> float(model(x, np.array([1])))
    0.0
    """

    def __init__(
        self,
        predictor: Link,
        lossfun: Callable = F.softmax_cross_entropy,
        accfun: Callable | None = accuracy,
        label_key: int | str = -1,
    ) -> None:
        super().__init__()
        if not isinstance(label_key, (int, str)):
            raise TypeError(
                f"Classifier: label_key is an int or a str, not {label_key!r}"
            )
        self.lossfun = lossfun
        self.accfun = accfun
        self.label_key = label_key
        self.y = self.loss = self.accuracy = None
        with self.init_scope():
            self.predictor = predictor

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _SAID_OTHERWISE and type(self).forward is Classifier.forward:
            # Nothing would read it.
            raise AttributeError(
                f"{type(self).__name__} has no {name}: {_SAID_OTHERWISE[name]}"
            )
        super().__setattr__(name, value)

    def forward(self, *args: Any, **kwargs: Any) -> Variable:
        """Return the loss; labels are the argument that ``label_key`` names."""
        if isinstance(self.label_key, int):
            if not -len(args) <= self.label_key < len(args):
                raise ValueError(
                    f"Classifier: label_key is {self.label_key}, but there are "
                    f"{len(args)} positional arguments"
                )
            position = self.label_key % len(args)
            t = args[position]
            args = args[:position] + args[position + 1 :]
        else:
            if self.label_key not in kwargs:
                raise ValueError(
                    f"Classifier: label_key is {self.label_key!r}, but the keyword "
                    f"arguments are: {', '.join(kwargs) or 'none'}"
                )
            t = kwargs.pop(self.label_key)
        # Frees the graph of the last call before a new one is made.
        vars(self).update(y=None, loss=None, accuracy=None)
        self.y = self.predictor(*args, **kwargs)
        self.loss = loss = self.lossfun(self.y, t)
        values = {"loss": loss}
        if self.accfun is not None:
            values["accuracy"] = self.accuracy = self.accfun(self.y, t)
        for key, value in values.items():
            count = None if hasattr(value, "_count") else count_labels(t)
            reporter.report({key: value}, self, weight=count)
        return loss


def count_labels(t):
    """Return how many labels count where a function of one's own did not say."""
    t = getattr(t, "array", t)
    return labels.count_labels(t, IGNORED if t.dtype.kind in "iu" else None)
