"""Programs that run as they are: what their process needs before they start.

``__main__`` does it for a script. A notebook is run by a kernel that is there already:
it gets one cell more, ``%load_ext dyrnn.chainer``, and stays as it is otherwise.
"""

import os

from dyrnn.chainer import casting, old_numpy, old_python, old_sources
from dyrnn.chainer.aliases import install


def prepare(folder):
    """Bring back what the programs in a folder expect of Python and NumPy."""
    old_python.revive()
    old_numpy.revive()
    old_sources.install(folder)
    casting.is_on = True


def load_ipython_extension(shell):
    """Let the cells of a notebook that follow be those of an unedited program.

    IPython calls this for ``%load_ext dyrnn.chainer``, also when it is asked to reload.
    """
    install()
    if old_sources.cell not in shell.input_transformers_post:
        prepare(os.getcwd())
        shell.input_transformers_post.append(old_sources.cell)
