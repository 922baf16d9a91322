"""Chainer's names ``chainer.dataset``."""

from functools import partial

from dyrnn.chainer.aliases import folder_or_raise
from dyrnn.chainer.dataset.bases import DatasetMixin, Iterator
from dyrnn.chainer.dataset.converting import (
    ConcatWithAsyncTransfer,
    Converter,
    concat_examples,
    converter,
    to_device,
)
from dyrnn.chainer.dataset.files import (
    cache_or_load_file,
    cached_download,
    get_dataset_directory,
    get_dataset_root,
    set_dataset_root,
)

__getattr__ = partial(folder_or_raise, __name__)
