"""Observers of functions: ``FunctionHook`` and the hooks of this thread."""

from dyrnn.chainer._hooks import ContextHook, ThreadHooks

_of_thread = ThreadHooks()


def get_function_hooks():
    """Return the hooks of this thread by name."""
    return _of_thread.hooks


def hooks_of(function):
    """Return the hooks to call for ``function``: the thread's and its own."""
    hooks, own = _of_thread.hooks, function._local_function_hooks
    if own:
        hooks = {**hooks, **own}
    return list(hooks.values()) if hooks else ()


class FunctionHook(ContextHook):
    """Called around ``forward`` and ``backward`` inside a ``with`` block.

    Or of one function only: ``function.add_hook(hook)``.
    """

    name = "FunctionHook"
    _of_thread = _of_thread

    def added(self, function):
        """Take note of being added to a function (None: to all)."""

    def deleted(self, function):
        """Take note of being taken away."""

    def forward_preprocess(self, function, in_data):
        """Look at a function before ``forward``."""

    def forward_postprocess(self, function, in_data):
        """Look at a function after ``forward``."""

    def backward_preprocess(self, function, in_data, out_grad):
        """Look at a function before ``backward``."""

    def backward_postprocess(self, function, in_data, out_grad):
        """Look at a function after ``backward``."""
