"""A trainer whose updater does nothing."""

from unittest import mock

from dyrnn.chainer import training


def get_trainer_with_mock_updater(
    stop_trigger=(10, "iteration"), iter_per_epoch=10, extensions=None
):
    """Return a trainer over an updater that counts iterations and epochs."""
    updater = mock.Mock()
    updater.get_all_optimizers.return_value = {}
    updater.iteration = 0
    updater.epoch = 0
    updater.epoch_detail = 0
    updater.is_new_epoch = True
    updater.previous_epoch_detail = None

    def update():
        updater.update_core()
        before = updater.iteration
        updater.iteration += 1
        updater.epoch = updater.iteration // iter_per_epoch
        updater.epoch_detail = updater.iteration / iter_per_epoch
        updater.is_new_epoch = before // iter_per_epoch != updater.epoch
        updater.previous_epoch_detail = before / iter_per_epoch

    updater.update = update
    return training.Trainer(updater, stop_trigger, extensions=extensions or [])
