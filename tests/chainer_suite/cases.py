"""The lists of this folder: cases in scope, expected failures, cases out of scope.

``cases.txt`` has a line for each class (or function) of a file of tests::

    group functions: activation
    file functions_tests/activation_tests/test_tanh.py
    TestTanh_param_{0-17}: test_forward test_backward

The other two name a reason first, then the cases that it is the reason of, as
``FILE`` or ``FILE::PATTERN``, where ``*`` stands for any text::

    # The reason.
    functions_tests/activation_tests/test_tanh.py::TestTanh_param_*::test_forward
"""

import collections
import itertools
import re
from pathlib import Path

HERE = Path(__file__).parent
_CPU = re.compile(r"_use_chainerx_false_\w*?_use_ideep_never")
_VALUES = re.compile(r"(_param_\d+)_\{(?:[^{}]|\{[^{}]*\})*\}")
_ALL_VALUES = re.compile(r"(_param_\d+)_\{.*\}", re.DOTALL)  # whatever is in them
_NUMBER = re.compile(r"(?<=_param_)\d+")


def short_id(nodeid):
    """Return pytest's id of a case without its file and what depends on versions.

    Of a parameterized class the number stays, not the values; of its backend, which
    is always the CPU here, nothing.
    """
    name = _CPU.sub("", nodeid.partition("::")[2])
    values = _VALUES if name.count("_param_") > 1 else _ALL_VALUES
    return values.sub(r"\1", name)


def read_cases(text):
    """Return {file: (group, [ids])}."""
    files: dict[str, tuple[str, list[str]]] = {}
    group, ids = "", []
    for line in text.splitlines():
        if line.startswith("group "):
            group = line.removeprefix("group ")
        elif line.startswith("file "):
            ids = []
            files[line.removeprefix("file ")] = group, ids
        else:
            ids += _expanded(line)
    return files


def _expanded(line):
    """Return the ids of a line, of a function alone or of a class and its tests."""
    owner, _, tests = line.partition(": ")
    pieces = re.split(r"\{([\d,-]+)\}", owner)
    choices = [_numbers(piece) if i % 2 else [piece] for i, piece in enumerate(pieces)]
    owners = ["".join(choice) for choice in itertools.product(*choices)]
    return [
        f"{owner}{'::' if test else ''}{test}"
        for test in tests.split() or [""]
        for owner in owners
    ]


def _numbers(text):
    """Return the numbers of ``0-3,7`` as texts."""
    ends = [span.partition("-") for span in text.split(",")]
    return [str(n) for a, _, b in ends for n in range(int(a), int(b or a) + 1)]


def write_cases(files):
    """Return the text that :func:`read_cases` reads."""
    lines, last = [], None
    for file, (group, ids) in files.items():
        if group != last:
            lines.append(f"group {group}")
            last = group
        lines += [f"file {file}", *folded(ids)]
    return "\n".join(lines) + "\n"


def folded(ids):
    """Return ids as lines: tests of equal parameters stand on one."""
    numbers = collections.defaultdict(set)
    for name in ids:
        owner, colon, test = name.partition("::")
        found = _NUMBER.findall(owner)
        pattern = re.sub(r"(?<=_param_)\d+(?!.*_param_)", "#", owner)
        numbers[pattern, colon + test].add(int(found[-1]) if found else -1)
    tests = collections.defaultdict(list)
    for (pattern, test), values in numbers.items():
        owner = pattern.replace("#", "{" + _spans(sorted(values)) + "}")
        tests[owner].append(test.removeprefix("::"))
    return [
        f"{owner}: {' '.join(names)}".rstrip(": ") for owner, names in tests.items()
    ]


def _spans(values):
    """Return ascending numbers as ``0-3,7``."""
    spans: list[list[int]] = []
    for value in values:
        if spans and value == spans[-1][1] + 1:
            spans[-1][1] = value
        else:
            spans.append([value, value])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in spans)


def read_reasons(text, files):
    """Return {(file, id): reason} of the cases that a list names.

    Raises
    ------
    ValueError
        If a line has no reason, or names no case.
    """
    reasons, reason, is_new = {}, "", True
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        if line.startswith("#"):
            reason = line.strip("# ") if is_new else f"{reason} {line.strip('# ')}"
            is_new = False
            continue
        is_new = True
        file, _, pattern = line.strip().partition("::")
        wanted = re.compile(".*".join(map(re.escape, (pattern or "*").split("*"))))
        found = [i for i in files.get(file, ("", []))[1] if wanted.fullmatch(i)]
        if not reason or not found:
            lack = "names no case" if reason else "has no reason"
            raise ValueError(f"line {number}: {line!r} {lack}")
        reasons.update({(file, name): reason for name in found})
    return reasons


def load():
    """Return the three lists: ``cases``, ``expected``, ``outside``."""
    texts = [
        (HERE / f"{name}.txt").read_text(encoding="utf-8")
        for name in ("cases", "expected_failures", "out_of_scope")
    ]
    cases = read_cases(texts[0])
    return cases, *(read_reasons(text, cases) for text in texts[1:])
