"""Writing beside the training, without ever losing an error."""

from concurrent.futures import ThreadPoolExecutor


class BackgroundWriter:
    """Runs one job at a time in a thread of its own.

    An error of a job is raised by whichever call comes next, so training that saves to
    a full disk stops instead of going on without files. The interpreter waits for the
    job before it exits.

    Examples
    --------
    >>> saved = []
    >>> writer = BackgroundWriter()
    >>> writer.submit(saved.append, "model.npz")
    >>> writer.close()
    >>> saved
    ['model.npz']
    """

    def __init__(self):
        self._pool = ThreadPoolExecutor(1)
        self._job = None

    def submit(self, function, *args):
        """Start ``function(*args)`` as soon as the job before it has ended well."""
        self.wait()
        self._job = self._pool.submit(function, *args)

    def check(self):
        """Raise the error of a job that has failed; do not wait for one that runs."""
        if self._job is not None and self._job.done():
            self.wait()

    def wait(self):
        """Wait for the job that runs, and raise its error."""
        job, self._job = self._job, None
        if job is not None:
            job.result()

    def close(self):
        """The same as :meth:`wait`: to be called at the end."""
        self.wait()
