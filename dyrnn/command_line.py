"""What command lines of training scripts share: options, help, snapshots, replays.

Exit codes: 0 done, 1 failure, 2 wrong usage, 3 diverged (a loss or gradient that is not
finite), 130, 143 and 129 after SIGINT, SIGTERM and SIGHUP, once a snapshot is written.
"""

import argparse
import functools
import hashlib
import io
import json
import math
import os
import re
import shlex
import sys
from pathlib import Path

from dyrnn import console, distributed, extensions, random, serializers, training
from dyrnn.config import config
from dyrnn.distributed.guard import is_common_error
from dyrnn.errors import DeviceError, NonFiniteError, ShapeError, SnapshotError
from dyrnn.serializers import environment
from dyrnn.serializers.atomic import atomic_output
from dyrnn.training.replaying import worst_interval

_TOO_LARGE = 1 << 63  # for a whole number
_OF_A_START = "out resume allow_change replay replay_file dry_run".split()


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Keeps the lines of the description, and says the default of each option."""

    def _get_help_string(self, action):
        # argparse's own formatter for defaults names None and False as well.
        default, text = action.default, action.help
        if text is None or "default" in text or default in (None, argparse.SUPPRESS):
            return text
        if isinstance(default, list):
            default = " ".join(map(str, default))
        if default is False or default == "":
            return text
        return f"{text} (default: {default})"


def number(kind, lowest=None, highest=None, above=None):
    """Return an argparse type: a finite int or float within bounds.

    ``lowest`` and ``highest`` belong to them, ``above`` does not.
    """

    def convert(text):
        try:
            value = kind(text)
        except ValueError:
            expected = "a whole number" if kind is int else "a number"
            raise argparse.ArgumentTypeError(
                f"{text!r:.60} is not {expected}"
            ) from None
        if kind is int and abs(value) >= _TOO_LARGE:
            raise argparse.ArgumentTypeError(f"{text:.20}... is too large")
        if not math.isfinite(value):
            raise argparse.ArgumentTypeError(f"{text!r} is not finite")
        if lowest is not None and value < lowest:
            raise argparse.ArgumentTypeError(f"{text} is less than {lowest}")
        if above is not None and value <= above:
            raise argparse.ArgumentTypeError(f"must be more than {above}, not {text}")
        if highest is not None and value > highest:
            raise argparse.ArgumentTypeError(f"{text} is more than {highest}")
        return value

    return convert


def add_common_options(parser, out="result"):
    """Add --device, --out, --resume, --replay, --seed, --distributed and so on."""
    add = parser.add_argument
    add("--device", "-d", default="-1", help="-1 for the CPU, 0 or cuda:0 for a GPU")
    add("--gpu", "-g", dest="device", help=argparse.SUPPRESS)
    # No shell does so in --out=~/x, which would make a directory called ~.
    path = {"type": os.path.expanduser}
    add("--out", "-o", **path, default=out, help="directory of logs, snapshots, plots")
    add("--resume", "-r", **path, help="a snapshot, or 'auto': the newest in out")
    add(
        "--replay",
        type=_iterations,
        metavar="N",
        help="show what happened in iteration N of the run in out, or in A:B, or in "
        "'worst', the log's worst interval; with the run's other arguments",
    )
    add("--replay-file", **path, metavar="CSV", help="of A:B's figures, and a picture")
    add(
        "--dry-run",
        action="store_true",
        help="try two updates, an evaluation, a snapshot and all else, write nothing "
        "into out, and end",
    )
    add("--seed", type=number(int, 0), default=0, help="of all random numbers")
    add(
        "--allow-change",
        action="append",
        default=[],
        metavar="NAME",
        help="resume although NAME, such as seed or keep, is not as it was "
        "(the learning rate goes on as saved)",
    )
    add(
        "--distributed",
        action=_Join,
        nargs="?",
        const="mpi",
        choices=("mpi", "nccl"),
        help="share each batch among the processes that mpiexec has started",
    )
    add("--test", action="store_true", help="a tiny run of a few seconds")


def _iterations(text):
    """Return what --replay names: a pair of iterations, or "worst"."""
    if text == "worst":
        return text
    if not re.fullmatch(r"-?\d+(:\d+)?", text):
        raise argparse.ArgumentTypeError(
            f"{text!r:.60}: give an iteration, A:B or 'worst'"
        )
    first, colon, last = text.partition(":")
    convert = number(int, 1)
    pair = convert(first), convert(last if colon else first)
    if pair[0] > pair[1]:
        raise argparse.ArgumentTypeError(f"{text}: the range ends before it begins")
    return pair


class _Join(argparse.Action):
    """Joins the other processes before anything is printed or drawn."""

    def __call__(self, parser, namespace, value, option_string=None):
        setattr(namespace, self.dest, value)
        if distributed.current() is None:
            try:
                distributed.create_communicator(value)
            except (ImportError, RuntimeError) as error:
                parser.error(f"argument --distributed: {error}")


def is_first():
    """Whether this process is the first, or only, one: it writes and prints."""
    communicator = distributed.current()
    return communicator is None or communicator.rank == 0


def check_output(parser, option, out, name):
    """Refuse a name, taken from ``out``, at which no file can be written."""
    path = Path(out) / name
    folder = path.parent
    is_ready = folder.is_dir() and os.access(folder, os.W_OK)
    if path.is_dir() or not (is_ready or folder == Path(out)):
        parser.error(
            f"argument {option}: no file can be written at {path}; give the name of "
            "one in --out, or a path to a directory that is there"
        )


def extend_with_snapshots(
    trainer, args, trigger, identity=None, n_retains=2, settings=(), decode=None
):
    """Write ``config.json``, snapshot at a trigger and on a signal, and resume.

    With --replay, the trainer's ``run`` shows the iterations and ends the program; with
    --dry-run, it tries what a training does and ends it.
    With --distributed, share the trainer's work among the processes. ``args.out`` of
    those that are not the first becomes a directory that is thrown away.

    Parameters
    ----------
    trainer : Trainer
    args : argparse.Namespace
        With what :func:`add_common_options` adds.
    trigger : (number, unit) or trigger
    identity : dict, optional
        What a resumed run must share with the snapshot, such as the hash of the
        vocabulary.
    n_retains : int
        How many snapshots to keep.
    settings : sequence of str
        Names of arguments that a resumed run must share, too.
    decode : callable (ids), optional
        Makes a text of the ids of a sequence, for replays to show.
    """
    communicator = distributed.current()
    if communicator is not None:
        distributed.distribute(trainer, communicator)
        args.out = trainer.out
    identity = {**(identity or {}), **{name: vars(args)[name] for name in settings}}
    trainer.extend(
        extensions.snapshot(
            n_retains=n_retains,
            autoload=args.resume == "auto",
            on_signal=True,
            identity=identity,
            allow_changes=args.allow_change,
        ),
        trigger=trigger,
    )
    if args.replay and trainer.world is not None:
        raise ValueError("--replay is for one process: start it without mpiexec")
    if args.replay:
        trainer.run = functools.partial(_replay, trainer, args, decode)
        return
    if args.dry_run:
        trainer.run = functools.partial(_dry_run, trainer)
    if args.resume and args.resume != "auto":
        if is_first() and not Path(args.resume).is_file():
            raise FileNotFoundError(
                f"--resume {args.resume}: no such file. Give a snapshot's name, or "
                f"'auto' for the newest one in {args.out}"
            )
        world = trainer.world
        path = args.resume if world is None else world.own_copy(args.resume)
        serializers.load_npz(path, trainer)
    trainer.extend(_Settings(args))


class _Loop:
    """A training loop by hand between two epochs."""

    def __init__(self, optimizer, identity, changes):
        self.optimizer, self.identity, self.changes = optimizer, identity, changes
        self.epoch = 0

    def serialize(self, s):
        saved = s("identity", self.identity)
        for name, value in self.identity.items():
            if s.loading and saved.get(name) != value and name not in self.changes:
                raise SnapshotError(
                    f"{name} is {value!r}, but the run that was saved had "
                    f"{saved.get(name)!r}. Resume with that one, say --allow-change "
                    f"{name}, or begin anew in another --out."
                )
        self.epoch = s("epoch", self.epoch)
        self.optimizer.target.serialize(s["model"])
        self.optimizer.serialize(s["optimizer"])
        random.serialize(s["random"])


def epochs(args, optimizer, identity=None):
    """Yield the epochs, from 1, that a training loop by hand has left; save each.

    ``loop.npz`` in ``args.out`` holds the model, without carried state, the optimizer
    and the random streams after the last whole epoch, and --resume goes on from there:
    the numbers are those of a run that never stopped.

    Parameters
    ----------
    args : argparse.Namespace
        With what :func:`add_common_options` adds, and ``epoch``.
    optimizer : Optimizer
    identity : dict, optional
        What a resumed run must share beside the seed, such as the vocabulary's hash.

    Raises
    ------
    SnapshotError
        If the file is of another run, see --allow-change.
    """
    if args.distributed:
        raise ValueError(
            "--distributed shares the work of a trainer, and this script has a loop of "
            "its own, in which each process would do all of it: start it once"
        )
    if args.replay:
        raise ValueError(
            "--replay is for a trainer, and this script has a loop of its own: "
            "run it again in another --out"
        )
    if args.dry_run:
        raise ValueError(
            "--dry-run is for a trainer, and this script has a loop of its own: --test "
            "is a tiny run"
        )
    identity = {"seed": args.seed, **(identity or {})}
    loop = _Loop(optimizer, identity, args.allow_change)
    path = Path(args.out) / "loop.npz"
    if args.resume and (args.resume != "auto" or path.is_file()):
        serializers.load_npz(path if args.resume == "auto" else args.resume, loop)
    while loop.epoch < args.epoch:
        yield loop.epoch + 1
        loop.epoch += 1
        path.parent.mkdir(parents=True, exist_ok=True)
        serializers.save_npz(path, loop)


class _Settings(training.Extension):
    """Writes ``config.json`` once the snapshot is loaded: a refused run leaves it.

    When the run has diverged, it prints the command that shows why.
    """

    trigger = None
    default_name = "settings"

    def __init__(self, args):
        self._args = args

    def initialize(self, trainer):
        text = json.dumps(_settings(self._args), indent=2, default=str)
        with atomic_output(Path(trainer.out) / "config.json") as file:
            file.write(f"{text}\n".encode())

    def __call__(self, trainer):
        pass

    def on_error(self, trainer, error, traceback):
        if isinstance(error, NonFiniteError):
            iteration = error.iteration or trainer.updater.iteration
            command = shlex.join([*sys.orig_argv, "--replay", str(iteration)])
            console.say(f"to see what happened there: {command}")


def _settings(args):
    program = Path(sys.argv[0])
    return {
        "arguments": vars(args),
        "environment": environment(),
        "dtype": str(config.dtype),
        "program": hashlib.sha256(program.read_bytes()).hexdigest()
        if program.is_file()
        else None,
    }


def _dry_run(trainer):
    """Try what a training does, and end the program."""
    del trainer.run  # which led here
    found = trainer.dry_run()
    print("dry run: two updates, all extensions and a snapshot worked; now it is as")
    print("before, and nothing was written. The last update's values:")
    for key, value in found.items():
        print(f"  {key} {value:.6g}")
    raise SystemExit(0)


def _replay(trainer, args, decode):
    """Show past iterations, write figures if there are many, and end the program."""
    del trainer.run  # which led here: from now on it trains
    for change in _changes(trainer.out, args):
        console.say(f"not as in the run: {change}")
    path = args.replay_file
    if path is not None:
        _check_figures_file(path, trainer.out)
    if args.replay == "worst":
        first, last, why = worst_interval(trainer)
        print(f"worst row of the log: iterations {first} to {last}, {why}")
    else:
        first, last = args.replay
        if path is None and last > first:
            path = f"replay_{first}-{last}.csv"
    result = trainer.replay((first, last), decode=decode)
    print(result)
    if path is not None and result.figures:
        result.write_csv(path)
        print(f"figures: {path}")
        picture = Path(path).with_suffix(".png")
        if extensions.save_figure(picture, result.draw, (7, 7)):
            print(f"picture: {picture}")
    is_there = result.figures or result.error
    raise SystemExit(0 if is_there and not result.differences else 1)


def _check_figures_file(path, out):
    """Refuse, before anything is computed, a file that cannot be or must not be."""
    name = Path(path)
    if Path(out).resolve() in name.resolve().parents:
        raise ValueError(
            f"--replay-file {path}: it is in {out}, which a replay leaves as it is; "
            "name a file elsewhere"
        )
    if name.suffix == ".png" or name.is_dir() or not os.access(name.parent, os.W_OK):
        raise ValueError(
            f"--replay-file {path}: name a CSV file in a directory that is there; a "
            "picture of the name with .png is drawn beside it"
        )


def _changes(out, args):
    """Yield what is another one than in the ``config.json`` of a run."""
    try:
        before = json.loads((Path(out) / "config.json").read_text())
        arguments, machine = dict(before["arguments"]), dict(before["environment"])
    except (OSError, ValueError, KeyError, TypeError):
        yield f"perhaps: {out} has no config.json to tell"
        return
    now = json.loads(json.dumps(_settings(args), default=str))
    for name, value in now["arguments"].items():
        if name in arguments and name not in _OF_A_START and arguments[name] != value:
            option = "--" + name.replace("_", "-")
            yield f"{option} was {arguments[name]!r}, and is {value!r}"
    for name, value in now["environment"].items():
        if name in machine and machine[name] != value:
            yield f"{name} was {machine[name]!r}, and is {value!r}"
    if before.get("program", now["program"]) != now["program"]:
        yield f"{sys.argv[0]} was changed"


def run(main):
    """Call ``main()``; turn an error into one line on stderr and an exit code.

    What the standard output cannot encode is written as escapes.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        main()
    except NonFiniteError as error:
        _fail(error, 3)
    except (OSError, ValueError, SnapshotError, DeviceError, ShapeError) as error:
        if config.debug:
            raise
        _fail(error, 1)
    except (MemoryError, OverflowError) as error:  # sizes that nothing holds
        if config.debug:
            raise
        _fail(f"too large: {error or 'no memory is left'}", 1)
    except KeyboardInterrupt:
        _fail("interrupted", 130)


def _fail(error, code):
    if is_first() or not is_common_error(error):
        name = Path(sys.argv[0]).name
        if not is_first():
            name = f"rank {distributed.current().rank}: {name}"
        console.say(console.harmless(f"{name}: {error}"), sys.stderr)
    raise SystemExit(code)
