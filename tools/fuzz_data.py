"""Read thousands of damaged data files and models: only documented errors come out.

``python -m tools.fuzz_data`` damages archives with the three parts of a corpus, texts,
files of vocabularies and of models, as ``tools.fuzz_npz`` damages snapshots, and forges
vocabularies in the metadata of models. Printed are what came out, and, of those that
were read at all, the slowest file and the memory that it took.
"""

import argparse
import collections
import contextlib
import io
import random
import resource
import sys
import tarfile
import tempfile
import time
import warnings
import zipfile
from pathlib import Path

import dyrnn
from dyrnn import links as L
from dyrnn.datasets import Vocabulary, load_corpus
from dyrnn.errors import SnapshotError
from dyrnn.serializers import load_npz, read_manifest, save_npz
from tools.forge_snapshots import HOSTILE
from tools.fuzz_npz import memory_folder, mutate

TEXT = "the cat sat on the mat \n a dog , and <unk> N dogs \n" * 40
WORDS = ["<eos>", "the", "cat", "ä", "<unk>"]
DOCUMENTED = (ValueError, OSError)  # of data


def _parts():
    return {f"data/ptb.{part}.txt": TEXT for part in ("train", "valid", "test")}


def zipped(method):
    """Return the bytes of a zip file of a corpus."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, text in _parts().items():
            archive.writestr(name, text)
    return file.getvalue()


def tarred(mode):
    """Return the bytes of a tar file of a corpus."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as archive:
        for name, text in _parts().items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    return file.getvalue()


def make_model():
    """Return a model as programs save it."""
    return dyrnn.Sequential(L.EmbedID(len(WORDS), 3), L.LSTM(3, 4), L.Linear(4, 5))


def model_file():
    """Return the bytes of a model with its vocabulary."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.npz")
        metadata = {
            "vocabulary": Vocabulary(WORDS).to_json(),
            "arguments": {"units": 4},
        }
        save_npz(path, make_model(), metadata)
        return path.read_bytes()


def read_model(path):
    """Read a model and its vocabulary."""
    Vocabulary.from_json(read_manifest(path)["metadata"].get("vocabulary"))
    load_npz(path, make_model())


def forged_model(path, rng):
    """Write a model whose metadata, with right hashes, is not a vocabulary."""
    saved = Vocabulary(WORDS).to_json()
    for _ in range(rng.choice((1, 1, 2))):
        place = rng.randrange(4)
        if place == 0:
            saved = rng.choice(HOSTILE)
            break
        if place == 1:
            saved[0] = rng.choice(HOSTILE)
        elif isinstance(saved[1], list) and saved[1]:
            saved[1][rng.randrange(len(saved[1]))] = rng.choice([*HOSTILE, "the", "\n"])
    save_npz(path, make_model(), {"vocabulary": saved})


KINDS = {
    "stored.zip": (lambda: zipped(zipfile.ZIP_STORED), load_corpus),
    "deflated.zip": (lambda: zipped(zipfile.ZIP_DEFLATED), load_corpus),
    "bzip.zip": (lambda: zipped(zipfile.ZIP_BZIP2), load_corpus),
    "lzma.zip": (lambda: zipped(zipfile.ZIP_LZMA), load_corpus),
    "plain.tar": (lambda: tarred("w"), load_corpus),
    "gzip.tgz": (lambda: tarred("w:gz"), load_corpus),
    "text.txt": (TEXT.encode, load_corpus),
    "vocabulary.txt": ("\n".join(WORDS).encode, Vocabulary.from_file),
    "model.npz": (model_file, read_model),
}


def search(name, count, seed=0):
    """Return outcomes and their numbers, problems, and the slowest file of a kind."""
    rng = random.Random(f"{seed} {name}")
    make, read = KINDS[name]
    original, outcomes, problems, slowest = make(), collections.Counter(), [], 0.0
    allowed = (SnapshotError, ValueError) if name == "model.npz" else DOCUMENTED
    place = tempfile.TemporaryDirectory(dir=memory_folder())
    with place as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path, good = Path(folder, name), Path(folder, f"good-{name}")
        good.write_bytes(original)
        for number in range(count):
            if name == "model.npz" and number % 2:
                with contextlib.suppress(ValueError, TypeError):
                    forged_model(path, rng)
            else:
                path.write_bytes(mutate(original, rng))
            start = time.perf_counter()
            try:
                read(path)
                outcome = "read"
            except allowed:
                outcome = "refused"
            except Exception as error:
                outcome = f"raised {type(error).__name__}"
                problems.append(f"{name} {number}: {error!r:.200}")
            slowest = max(slowest, time.perf_counter() - start)
            outcomes[outcome] += 1
            if number % 50 == 0:
                read(good)
    return outcomes, problems, slowest


def main():
    """Print the figures; return 1 if there was a problem."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=1500, help="of each kind")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    wrong = []
    for name, (_, read) in KINDS.items():
        with contextlib.suppress(*DOCUMENTED, SnapshotError):
            read(Path(__file__))  # what is imported at first use
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        outcomes, problems, slowest = search(name, options.count, options.seed)
        more = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        found = ", ".join(f"{number} {what}" for what, number in outcomes.items())
        print(f"{name}: {found}; {more / 1024:.0f} MiB, {slowest:.2f} s", flush=True)
        wrong += problems
    for problem in wrong[:20]:
        print(f"  {problem}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
