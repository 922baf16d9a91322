"""Train twice from one seed: the files must be the same, byte by byte.

``python -m tools.repeat_runs`` trains the language model of ``examples/ptb``, as its
``--test`` does, again and again in new processes, with the same threads and with
another ``PYTHONHASHSEED`` each time. The model's file must have the same SHA-256, and
so must the state of all else in the last snapshot, less times, and the rows of the log.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from dyrnn.extensions import read_log
from dyrnn.serializers import newest_valid, read_manifest
from tools.small_training import timeless

SCRIPT = Path(__file__).resolve().parents[1] / "examples" / "ptb" / "train_ptb.py"


def result(folder, hash_seed, *arguments):
    """Train in a new process; return the SHA-256 of all that it left."""
    command = [sys.executable, str(SCRIPT), "--test", "--out", folder, *arguments]
    environment = {**os.environ, "PYTHONHASHSEED": str(hash_seed)}
    environment["MPLBACKEND"] = "Agg"
    subprocess.run(command, env=environment, check=True, capture_output=True)
    total = hashlib.sha256(Path(folder, "model.npz").read_bytes())
    manifest = read_manifest(newest_valid(folder).path)
    state = [manifest["arrays"], manifest["environment"], manifest["values"]]
    state += read_log(os.path.join(folder, "log.jsonl"))
    total.update(json.dumps(timeless(state), sort_keys=True).encode())
    return total.hexdigest()


def search(runs, *arguments):
    """Return the results of ``runs`` runs, all to be equal."""
    results = []
    for number in range(runs):
        with tempfile.TemporaryDirectory() as folder:
            results.append(result(folder, number, *arguments))
    return results


def main():
    """Print how many runs were equal; return 1 if one was not."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=20)
    options = parser.parse_args()
    results = search(options.runs)
    equal = results.count(results[0])
    print(f"{equal} of {options.runs} runs are equal: {results[0]}")
    return 0 if equal == options.runs else 1


if __name__ == "__main__":
    sys.exit(main())
