"""Extensions of the trainer: evaluation, logs, snapshots, plots, schedules.

The source is here, at the top level; import it as ``dyrnn.extensions``.
"""
