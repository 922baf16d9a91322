"""Cut training programs as users write them: the rest equals, or it is refused by name.

``python -m tools.resume_programs`` trains each program of ``tools.user_programs``,
saves it after every iteration, and goes on from some of the files in a program made
anew. What it ends with must be what it ended with in one piece, bit by bit. A program
that cannot go on so must be refused within two iterations, before any file is due, or
before it goes on, by a text that names what cannot be saved.
"""

import argparse
import collections
import contextlib
import inspect
import io
import sys
import tempfile
import warnings

import dyrnn
from dyrnn import extensions
from dyrnn.serializers import load_npz
from dyrnn.training import Trainer
from tools import user_programs

ITERATIONS = 12
CUTS = (1, 2, 3, 6, 11)
PROGRAMS = {
    name: function
    for name, function in vars(user_programs).items()
    if inspect.isfunction(function)
    and function.__module__ == user_programs.__name__
    and not name.startswith("_")
}
# By name of a program: what the text of its refusal must name.
REFUSED = {
    "iterator_without_serialize": "Cycle",
    "iterator_by_a_generator": "Generated",
    "extension_that_adds_a_hook": "GradientClipping",
    "model_with_a_persistent_array_that_grows": "seen",
    "model_that_carries_a_list": "past",
    "model_with_a_variable_undeclared": "'g'",
    "model_with_a_list_of_variables": "past",
    "model_with_a_dictionary_of_variables": "past",
    "model_with_a_generator_of_python": "noise",
}


def make(name, out, iterations=ITERATIONS):
    """Return a trainer of a program."""
    dyrnn.random.seed(0)
    made = PROGRAMS[name]()
    updater, extras = made if isinstance(made, tuple) else (made, ())
    trainer = Trainer(updater, (iterations, "iteration"), out)
    for each in extras:
        if getattr(each, "__name__", "").startswith("add_"):
            each(trainer)
        else:
            trainer.extend(each)
    trainer.extend(extensions.snapshot(), trigger=(1, "iteration"))
    return trainer


def outcome(trainer):
    """Return what a program ends with, comparable."""
    found = {}
    for name, optimizer in trainer.updater.get_all_optimizers().items():
        for path, param in optimizer.target.namedparams():
            found[name + path] = param.array.tobytes()
        found[name] = repr({key: getattr(optimizer, key) for key in optimizer.ranges})
    return found


def check(name, folder, cuts=CUTS):
    """Return "equal", "refused", or what was wrong."""
    trainer = make(name, f"{folder}/whole")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            trainer.run()
        except (TypeError, ValueError) as error:
            expected = REFUSED.get(name)
            if expected and expected in str(error) and trainer.updater.iteration <= 2:
                return "refused"
            return f"{type(error).__name__}: {error}"
    told = " ".join(str(each.message) for each in caught)
    wanted, different = outcome(trainer), []
    for cut in cuts:
        resumed = make(name, f"{folder}/{cut}")
        path = f"{folder}/whole/snapshot_iter_{cut:08}.npz"
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                load_npz(path, resumed)
                resumed.run()
        except dyrnn.errors.SnapshotError as error:
            if REFUSED.get(name, "\0") in str(error) and not resumed.updater.iteration:
                continue
            return f"after {cut}: {error}"
        if outcome(resumed) != wanted:
            different.append(cut)
    if different:
        return f"differs after {different}; told: {told or 'nothing'}"
    return "refused" if name in REFUSED else "equal"


def search(names=None, cuts=CUTS):
    """Return what became of each program, by name."""
    found = {}
    with contextlib.redirect_stderr(io.StringIO()):
        for name in names or PROGRAMS:
            with tempfile.TemporaryDirectory() as folder:
                found[name] = check(name, folder, cuts)
    return found


def main():
    """Print the figures; return 1 if a program went on otherwise, without a word."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="PROGRAM")
    options = parser.parse_args()
    found = search(options.names or None)
    counts = collections.Counter(found.values())
    wrong = {n: text for n, text in found.items() if text not in ("equal", "refused")}
    print(
        f"{len(found)} programs, cut after {', '.join(map(str, CUTS))} of {ITERATIONS} "
        f"iterations: {counts['equal']} equal, {counts['refused']} refused by name, "
        f"{len(wrong)} otherwise"
    )
    for name, what in wrong.items():
        print(f"  {name}: {what:.300}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
