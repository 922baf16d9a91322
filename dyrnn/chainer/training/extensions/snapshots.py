"""Snapshots: everything that training needs to go on, in Chainer's layout."""

import os
import warnings

from dyrnn.chainer.configuration import is_debug
from dyrnn.chainer.serializers.dictionaries import load_npz, save_npz, serialize
from dyrnn.chainer.training.bases import Extension
from dyrnn.chainer.training.extensions.writers import SimpleWriter


def _find_snapshot_files(fmt, path):
    """Return (time, name) of the files that a format of names matches, oldest first."""
    prefix, suffix = fmt.split("{")[0], fmt.split("}")[-1]
    return sorted(
        (os.stat(os.path.join(path, name)).st_mtime, name)
        for name in os.listdir(path)
        if name.startswith(prefix) and name.endswith(suffix)
    )


def _find_latest_snapshot(fmt, path):
    files = _find_snapshot_files(fmt, path)
    return files[-1][1] if files else None


def _find_stale_snapshots(fmt, path, n_retains=-1, **kwargs):
    n_retains = _renamed(kwargs, n_retains)
    files = _find_snapshot_files(fmt, path)
    n_removes = max(len(files) - n_retains, 0)
    return iter([name for _, name in files[:n_removes]])


def _renamed(kwargs, n_retains=-1):
    if "num_retain" not in kwargs:
        return kwargs.pop("n_retains", n_retains)
    warnings.warn(
        "Argument `num_retain` is deprecated. Please use `n_retains` instead",
        DeprecationWarning,
        stacklevel=1,
    )
    return kwargs.pop("num_retain")


def snapshot_object(target, filename, savefun=None, trigger=None, **kwargs):
    """Return an extension that saves one object; see :func:`snapshot`."""
    return _make(target, filename, savefun, trigger, **kwargs)


def snapshot(
    savefun=None,
    filename="snapshot_iter_{.updater.iteration}",
    trigger=None,
    **kwargs,
):
    """Return an extension that saves the trainer.

    Parameters
    ----------
    savefun : callable
        ``savefun(path, dictionary)``; by default :func:`save_npz`.
    filename : str or callable
        A format of the trainer, or a function of it.
    target : optional
        What is saved instead of the trainer.
    condition : callable, optional
        Says at each call whether to save.
    writer : callable, optional
        ``writer(filename, outdir, dictionary)``, instead of ``savefun``.
    snapshot_on_error : bool
    n_retains : int
        How many files are kept; all if negative.
    autoload : bool
        Whether to load the newest file before training.
    trigger : tuple or callable
        Version 1: when, if ``Trainer.extend`` is not told.
    """
    return _make(kwargs.pop("target", None), filename, savefun, trigger, **kwargs)


def _make(target, filename, savefun, trigger=None, writer=None, **kwargs):
    if savefun is not None and writer is not None:
        raise TypeError("savefun and writer arguments cannot be specified together.")
    if writer is None:
        writer = SimpleWriter(savefun=savefun or save_npz)
    kwargs["n_retains"] = _renamed(kwargs)
    made = _Snapshot(target=target, filename=filename, writer=writer, **kwargs)
    if trigger is not None:
        made.trigger = trigger
    return made


class _Snapshot(Extension):
    trigger = (1, "epoch")
    priority = -100

    def __init__(
        self,
        target=None,
        condition=None,
        writer=None,
        filename="snapshot_iter_{.updater.iteration}",
        snapshot_on_error=False,
        n_retains=-1,
        autoload=False,
        **kwargs,
    ):
        self._target = target
        self.filename = filename
        self.condition = (lambda: True) if condition is None else condition
        self.writer = SimpleWriter() if writer is None else writer
        self._snapshot_on_error = snapshot_on_error
        self.n_retains = _renamed(kwargs, n_retains)
        self.autoload = autoload
        if kwargs:
            raise TypeError(f"snapshot() has no argument {', '.join(sorted(kwargs))}")

    def initialize(self, trainer):
        target = trainer if self._target is None else self._target
        folder = trainer.out
        if self.autoload:
            name = _find_latest_snapshot(self.filename, folder)
            if name is not None:
                load_npz(os.path.join(folder, name), target)
            if is_debug():
                if name is None:
                    print(f"No snapshot file that matches {self.filename} was found")
                else:
                    print("Snapshot loaded from", os.path.join(folder, name))
        can_clean = hasattr(self.writer, "_add_cleanup_hook")
        if can_clean and self.n_retains > 0 and isinstance(self.filename, str):

            def _cleanup():
                stale = _find_stale_snapshots(self.filename, folder, self.n_retains)
                for name in stale:
                    os.remove(os.path.join(folder, name))

            self.writer._add_cleanup_hook(_cleanup)

    def on_error(self, trainer, exc, tb):
        super().on_error(trainer, exc, tb)
        if self._snapshot_on_error:
            self._make_snapshot(trainer)

    def __call__(self, trainer):
        if self.condition():
            self._make_snapshot(trainer)

    def _make_snapshot(self, trainer):
        target = trainer if self._target is None else self._target
        arrays = serialize(target)
        if callable(self.filename):
            filename = self.filename(trainer)
        else:
            filename = self.filename.format(trainer)
        self.writer(filename, trainer.out, arrays)

    def finalize(self):
        if hasattr(self.writer, "finalize"):
            self.writer.finalize()
