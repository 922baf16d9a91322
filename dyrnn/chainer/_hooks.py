"""What hooks of functions and of links share: their life as contexts."""

import collections
import threading


class ThreadHooks(threading.local):
    """The hooks of each thread, by name."""

    def __init__(self):
        self.hooks = collections.OrderedDict()


class ContextHook:
    """A hook that is called for all functions, or links, inside a ``with`` block."""

    name = "ContextHook"
    _of_thread: ThreadHooks

    def __enter__(self):
        hooks = self._of_thread.hooks
        if self.name in hooks:
            raise KeyError(f"hook {self.name} already exists")
        hooks[self.name] = self
        self.added(None)
        return self

    def __exit__(self, *_):
        hooks = self._of_thread.hooks
        hooks[self.name].deleted(None)
        del hooks[self.name]
