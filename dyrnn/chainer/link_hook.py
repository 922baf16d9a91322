"""Observers of links: ``LinkHook`` and the hooks of this thread."""

from dyrnn.chainer._hooks import ContextHook, ThreadHooks
from dyrnn.chainer.utils.misc import _repr_with_named_data

_of_thread = ThreadHooks()


def _get_link_hooks():
    """Return the hooks of this thread by name."""
    return _of_thread.hooks


class _ForwardPreprocessCallbackArgs:
    """What a hook is told before a link is called."""

    def __init__(self, link, forward_name, args, kwargs):
        self.link = link
        self.forward_name = forward_name
        self.args = args
        self.kwargs = kwargs

    def __repr__(self):
        return _repr_with_named_data(self, **vars(self))


class _ForwardPostprocessCallbackArgs(_ForwardPreprocessCallbackArgs):
    """What a hook is told after a link was called."""

    def __init__(self, link, forward_name, args, kwargs, out):
        super().__init__(link, forward_name, args, kwargs)
        self.out = out


class LinkHook(ContextHook):
    """Called around links' ``forward`` inside a ``with`` block.

    Or around one link's only: ``link.add_hook(hook)``.
    """

    name = "LinkHook"
    _of_thread = _of_thread

    def added(self, link):
        """Take note of being added to a link (None: to all)."""

    def deleted(self, link):
        """Take note of being taken away."""

    def forward_preprocess(self, args):
        """Look at a link before it is called."""

    def forward_postprocess(self, args):
        """Look at a link after it was called."""
