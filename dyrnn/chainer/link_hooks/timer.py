"""Times of links."""

from dyrnn.chainer._timing import Timer
from dyrnn.chainer.link_hook import LinkHook


class TimerHook(Timer, LinkHook):
    """Measures the time of each link's forward."""

    name = "TimerHook"
    heading = "LinkName"

    def forward_preprocess(self, args):
        self._start(args.link.xp)

    def forward_postprocess(self, args):
        self._stop(args.link.xp, type(args.link).__name__)
