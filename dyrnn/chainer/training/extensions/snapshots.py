"""Snapshots: everything that training needs to go on, in Chainer's layout."""

import os

from dyrnn.chainer.configuration import is_debug
from dyrnn.chainer.serializers.dictionaries import load_npz, save_npz, serialize
from dyrnn.chainer.training.bases import Extension
from dyrnn.chainer.utils import tempdir
from dyrnn.extensions import snapshots


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


def _find_stale_snapshots(fmt, path, n_retains=-1):
    files = _find_snapshot_files(fmt, path)
    n_removes = max(len(files) - n_retains, 0)
    return iter([name for _, name in files[:n_removes]])


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
    writer = writer or SimpleWriter(savefun or save_npz)
    made = Snapshot(None, filename, target=target, **kwargs)
    made.writer = writer
    made.trigger = trigger or made.trigger
    return made


class SimpleWriter:
    """Writes a dictionary of arrays: under another name first, which is then changed.

    Parameters
    ----------
    savefun : callable
        ``savefun(path, dictionary)``.
    """

    def __init__(self, savefun=save_npz):
        self._savefun = savefun

    def __call__(self, filename, outdir, target):
        with tempdir(prefix="tmp" + filename, dir=outdir) as temporary:
            path = os.path.join(temporary, filename)
            self._savefun(path, target)
            os.replace(path, os.path.join(outdir, filename))


class Snapshot(snapshots.Snapshot, Extension):
    """Saves the trainer or another target by means of a writer."""

    default_name = "_Snapshot"  # part of the keys in Chainer's files
    _is_idle = False  # nothing is replayed here

    def __post_init__(self):
        """Check nothing: a filename may be a function, and any number of files kept."""

    def initialize(self, trainer):
        if not self.autoload:
            return
        name = _find_latest_snapshot(self.filename, trainer.out)
        if name is not None:
            load_npz(os.path.join(trainer.out, name), self._target(trainer))
        if is_debug() and name is None:
            print(f"No snapshot file that matches {self.filename} was found")
        elif is_debug():
            print("Snapshot loaded from", os.path.join(trainer.out, name))

    def on_error(self, trainer, error, traceback):
        if self.snapshot_on_error:
            self._save(trainer, self._name(trainer), emergency=True)

    def _name(self, trainer):
        if callable(self.filename):
            return self.filename(trainer)
        return self.filename.format(trainer)

    def _save(self, trainer, name, emergency):
        if not emergency and not self._is_on():
            return
        self.writer(name, trainer.out, serialize(self._target(trainer)))
        if self.n_retains > 0 and isinstance(self.filename, str):
            for stale in _find_stale_snapshots(
                self.filename, trainer.out, self.n_retains
            ):
                os.remove(os.path.join(trainer.out, stale))

    def finalize(self):
        if hasattr(self.writer, "finalize"):
            self.writer.finalize()

    serialize = Extension.serialize
