"""Writing beside the training, without ever losing an error."""

import threading


class BackgroundWriter:
    """Runs one job at a time in a thread of its own.

    An error of a job is raised by whichever call comes next, so training that saves to
    a full disk stops instead of going on without files. The thread is no daemon: the
    interpreter waits for it before it exits.

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
        self._thread = None
        self._error = None

    def submit(self, function, *args):
        """Start ``function(*args)`` as soon as the job before it has ended well."""
        self.wait()
        self._thread = threading.Thread(target=self._run, args=(function, args))
        self._thread.start()

    def _run(self, function, args):
        try:
            function(*args)
        except BaseException as error:
            self._error = error

    def check(self):
        """Raise the error of a job that has failed; do not wait for one that runs."""
        if self._thread is None or not self._thread.is_alive():
            self.wait()

    def wait(self):
        """Wait for the job that runs, and raise its error."""
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.join()
        error, self._error = self._error, None
        if error is not None:
            raise error

    def close(self):
        """The same as :meth:`wait`: to be called at the end."""
        self.wait()
