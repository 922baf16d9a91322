"""Datasets, texts and vocabularies, and the way from examples to arrays.

A dataset is anything with ``len(dataset)`` and ``dataset[i]``. For language models,
:func:`load_corpus` turns the Penn Treebank, a text file or Python's own documentation
into arrays of word ids and their :class:`Vocabulary`.
"""

from dyrnn.datasets.convert import (
    concat_examples,
    pad_sequences,
    split_lines,
    time_major,
)
from dyrnn.datasets.dataset import (
    ConcatenatedDataset,
    Dataset,
    DictDataset,
    SubDataset,
    TransformDataset,
    TupleDataset,
    split_dataset,
    split_dataset_n,
    split_dataset_n_random,
    split_dataset_random,
)
from dyrnn.datasets.ptb import (
    Corpus,
    download,
    download_ptb,
    load_corpus,
    ptb_raw_data,
    python_text,
    split_text,
)
from dyrnn.datasets.series import SeriesWindows
from dyrnn.datasets.text import TextDataset, read_text
from dyrnn.datasets.vocabulary import Vocabulary
from dyrnn.datasets.windows import PaddedWindows, sequence_lengths
