"""The release: read by setup.py, by ``dyrnn.__version__`` and by snapshots."""

__version__ = "0.1.0"
