"""Random numbers: named streams, all derived from one seed, all saveable.

Dropout, shuffling, sampling and initialisation each draw from a stream of their own, so
drawing more of one never changes another, and a resumed run goes on with the very same
numbers. An iterator that shuffles owns its stream (`own_stream`), and an evaluation
draws from streams of its own (`scope`), so neither changes the training beside it. A
stream is a NumPy ``Generator`` over Philox (Salmon et al., "Parallel Random
Numbers: As Easy as 1, 2, 3", SC 2011), keyed by the seed and the stream's name. The
global ``numpy.random`` is never touched. Numbers are drawn on the CPU and sent to the
device, or by the same generator on the device, so a run draws the same ones everywhere.
"""

import collections
import contextlib
import operator
import threading
import weakref
import zlib
from collections.abc import Iterable, Iterator

import numpy as np

from dyrnn.errors import SnapshotError

_WORD = (1 << 64) - 1


class Stream:
    """One named stream; ``generator`` is its ``numpy.random.Generator``."""

    def __init__(self, name: str, seed: int) -> None:
        self.name = name
        self.restart(seed)

    def restart(self, seed: int) -> None:
        """Draw from the start of the stream that ``seed`` and the name make."""
        key = [seed & _WORD, zlib.crc32(self.name.encode()) | (seed >> 64) << 32]
        self.generator = np.random.Generator(np.random.Philox(key=key))

    def serialize(self, s):
        state = self.generator.bit_generator.state
        words = [*state["state"]["counter"], *state["state"]["key"], *state["buffer"]]
        numbers = [state["buffer_pos"], state["has_uint32"], state["uinteger"]]
        saved = s("state", [int(x) for x in words + numbers])
        if s.loading:
            self.generator.bit_generator.state = _checked(self.name, saved)


def _checked(name, numbers):
    """Return a Philox state from 13 numbers of a file, each within its range.

    NumPy's setter trusts its input: a position out of range reads foreign memory.
    """
    limits = [_WORD] * 10 + [4, 1, (1 << 32) - 1]
    if not (
        isinstance(numbers, list)
        and len(numbers) == len(limits)
        and all(type(x) is int for x in numbers)
        and all(0 <= x <= limit for x, limit in zip(numbers, limits, strict=True))
    ):
        raise SnapshotError(
            f"the state of random stream {name!r} is damaged: expected 13 numbers "
            f"within their ranges, found {str(numbers)[:200]}"
        )
    words = np.array(numbers[:10], dtype=np.uint64)
    return {
        "bit_generator": "Philox",
        "state": {"counter": words[:4], "key": words[4:6]},
        "buffer": words[6:10],
        "buffer_pos": numbers[10],
        "has_uint32": numbers[11],
        "uinteger": numbers[12],
    }


class Streams:
    """A set of streams with a seed of its own, for a thread, a trainer or a model.

    What is drawn inside ``with streams:``, in the thread of the block, comes from them:
    a model that is made and trained there gets the numbers that it gets alone, whatever
    other threads do. Outside of such blocks all threads share one set, whose numbers
    then depend on who comes first. An iterator keeps the stream that it was made with.

    Parameters
    ----------
    seed : int, from 0 to 2**96 - 1

    Examples
    --------
    >>> with Streams(1):
    ...     first = stream("dropout").generator.random()
    >>> with Streams(1):
    ...     assert stream("dropout").generator.random() == first
    """

    number = 0

    def __init__(self, seed: int = 0) -> None:
        self.streams: dict[str, Stream] = {}
        self.owned: weakref.WeakSet[Stream] = weakref.WeakSet()
        # Owners of streams by name, since the seed was set.
        self.owners: collections.Counter[str] = collections.Counter()
        # Numbers below, of owners that are gone and used nothing, and of others gone.
        self.unused: dict[str, set[int]] = {}
        self.left: dict[str, set[int]] = {}
        # Names that a file had, and nobody asked for yet.
        self.from_file: set[str] = set()
        with self:
            _start(seed)

    def __enter__(self):
        _thread.__dict__.setdefault("entered", []).append(self)
        return self

    def __exit__(self, *exception):
        _thread.entered.pop()


def _here():
    """Return the set that this thread draws from."""
    entered = getattr(_thread, "entered", None)
    return entered[-1] if entered else _shared


def seed(number: int) -> None:
    """Start all streams anew from ``number``, an integer from 0 to 2**96 - 1."""
    try:
        number = operator.index(number)
    except TypeError:
        raise TypeError(
            f"seed {number!r} is not an integer; use 0 to 2**96 - 1"
        ) from None
    if not 0 <= number < 1 << 96:
        raise ValueError(f"seed {number} is out of range: use 0 to 2**96 - 1")
    here = _here()
    here.number = number
    here.owners.clear()
    here.unused, here.left = {}, {}
    for each in [*here.streams.values(), *here.owned]:
        each.restart(number)


# Of each stream with an owner: its set, its first name and its number there, and the
# numbers that are unused, and those that are left, since the same seed.
_numbered: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()
_thread = threading.local()
_start = seed  # where an argument has its name
_shared = Streams()


def refuse_streams():
    """Let `stream` raise in this thread from now on: it reads examples ahead."""
    _thread.reads_ahead = True


def get_seed() -> int:
    """Return the seed in force."""
    return _here().number


def stream(name: str) -> Stream:
    """Return the stream called ``name``, made at the first call.

    It belongs to all threads, but in a block of `Streams`.
    """
    if getattr(_thread, "reads_ahead", False):
        raise RuntimeError(
            f"a dataset draws from dyrnn.random.stream({name!r}), but is read ahead in "
            "threads or processes: which example gets which numbers would depend on "
            "their speed, and differ after a resume. Draw by the example's number, "
            "numpy.random.default_rng((seed, i)), or use a SerialIterator."
        )
    # Weights that an evaluation is the first to need are those of any first use.
    scoped = None if name == "initializer" else getattr(_thread, "scope", None)
    if scoped is not None:
        return scoped(name)
    here = _here()
    if name not in here.streams:
        here.streams[name] = Stream(name, here.number)
    here.from_file.discard(name)
    return here.streams[name]


def own_stream(name: str) -> Stream:
    """Return a new stream for one owner, who has it in its snapshots.

    The first owner since the seed was set draws the numbers of the stream called
    ``name``, the second those of ``name-2``, and so on; `claim` may exchange them, and
    `release` frees a number.
    """
    here = _here()
    unused = here.unused.setdefault(name, set())
    left = here.left.setdefault(name, set())
    if unused:
        unused.remove(number := min(unused))
    else:
        here.owners[name] += 1
        number = here.owners[name]
    owned = Stream(_numbered_name(name, number), here.number)
    here.owned.add(owned)
    _numbered[owned] = here, name, number, unused, left
    return owned


def _numbered_name(name, number):
    return name if number == 1 else f"{name}-{number}"


def release(owned: Stream, is_used: bool = False) -> None:
    """Leave a stream's number to the next owner, or, if it was used, to `claim`."""
    if owned in _numbered:
        _, _, number, unused, left = _numbered.pop(owned)
        (left if is_used else unused).add(number)


def owner_number(owned: Stream) -> int:
    """Return the number of an owned stream among those of its name."""
    return _numbered[owned][2] if owned in _numbered else 0


def claim(
    owned: Stream, idle: Iterable[Stream], used: Iterable[Stream] = ()
) -> list[Stream]:
    """Exchange a stream's number with the lowest one of its name that is free.

    Free are those of the streams in ``idle`` and ``used``, and those that were
    released. So an owner that goes to work draws the same numbers, whatever else was
    made before it and is not at work. Streams in ``used`` go on as they are, under
    another name.

    Returns
    -------
    list of Stream
        Those that got another number, and start anew: none, or ``owned``, and the one
        that had its number.
    """
    if owned not in _numbered:
        return []
    here, name, number, unused, left = _numbered[owned]
    free: dict[int, Stream | None] = dict.fromkeys([*unused, *left])
    used = list(used)
    for each in [*idle, *used]:
        entry = _numbered.get(each)
        if entry is not None and entry[3] is unused:  # of this name, since that seed
            free[entry[2]] = each
    lowest = min(free, default=number)
    if lowest >= number:
        return []
    other = free[lowest]
    _numbered[owned] = here, name, lowest, unused, left
    if other is None:
        unused.discard(lowest)
        left.discard(lowest)
        unused.add(number)
    else:
        _numbered[other] = here, name, number, unused, left
        other.name = _numbered_name(name, number)
    owned.name = _numbered_name(name, lowest)
    changed = [owned] if other is None or other in used else [owned, other]
    for each in changed:
        each.restart(here.number)
    return changed


def in_scope(owned: Stream) -> Stream:
    """Return what the owner of a stream draws from: inside a `scope`, its own there."""
    scoped = getattr(_thread, "scope", None)
    return owned if scoped is None else scoped(owned.name)


@contextlib.contextmanager
def scope(name: str) -> Iterator[None]:
    """Draw from other streams inside, in this thread: those outside stay as they are.

    They begin anew each time, as the seed and ``name`` have it: for evaluations, or for
    what an extension samples. Weights are initialized as outside.

    Examples
    --------
    >>> with scope("evaluation"):
    ...     first = stream("dropout").generator.random()
    >>> with scope("evaluation"):
    ...     assert stream("dropout").generator.random() == first
    """
    streams: dict[str, Stream] = {}

    def scoped(inner):
        if inner not in streams:
            streams[inner] = Stream(f"{name}/{inner}", get_seed())
        return streams[inner]

    outer, _thread.scope = getattr(_thread, "scope", None), scoped
    try:
        yield
    finally:
        _thread.scope = outer


def serialize(s):
    """Save or load the seed and the position of every stream."""
    here = _here()
    names = s("names", sorted(here.streams))
    number = s("seed", str(here.number))
    owners = s("owners", dict(here.owners)) if s.has("owners") else {}
    if not all(type(count) is int for count in owners.values()):
        raise SnapshotError(f"owners of random streams are no counts: {owners!r:.200}")
    if s.loading:
        number = _checked_seed(number)
        for name in names:
            if not _is_name(name):
                raise SnapshotError(f"the file has a random stream called {name!r:.80}")
        here.number = number
        here.owners.clear()
        here.owners.update(owners)
        for name in set(here.streams) - set(names):
            if name in here.from_file:  # of a file that was refused, or loaded before
                del here.streams[name]
            else:
                here.streams[name].restart(number)
        new = set(names) - set(here.streams)
        here.streams.update((name, Stream(name, number)) for name in new)
        here.from_file.intersection_update(here.streams)
        here.from_file.update(new)
    for name in names:
        here.streams[name].serialize(s[name])


def _is_name(name):
    """Whether a stream of this name can be saved."""
    return (
        isinstance(name, str)
        and len(name) < 500
        and name.isprintable()
        and "\\" not in name
        and all(part not in ("", ".", "..") for part in name.split("/"))
    )


def _checked_seed(text):
    if isinstance(text, str) and text.isascii() and text.isdigit() and len(text) < 40:
        number = int(text)
        if number < 1 << 96:
            return number
    raise SnapshotError(f"the file has the seed {text!r:.80}; it is below 2**96")
