"""Categories of warnings."""


class PerformanceWarning(RuntimeWarning):
    """The computation is right, but slow."""
