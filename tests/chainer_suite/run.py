"""Run Chainer's own tests on ``dyrnn.chainer``: ``make chainer-tests CHAINER=FOLDER``.

FOLDER is a checkout of https://github.com/chainer/chainer at v7.8.1; nothing of it is
copied. In scope are the cases of ``cases.txt``: those that Chainer itself passes on
Python 3.11 and NumPy 2.4, patched as far as it takes to import it there, and that need
neither a GPU nor ChainerX. ``out_of_scope.txt`` takes some out, and
``expected_failures.txt`` names those that fail, both with reasons. The exit code is 0
if all others pass and all of these fail.
"""

import argparse
import collections
import concurrent.futures
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.chainer_suite.cases import folded, load

ROOT = Path(__file__).resolve().parents[2]
VERSION = "7.8.1"
SURPRISE = "These pass, but are listed as expected failures."


def main(args=None):
    """Run the files that are asked for; return the exit code."""
    options = parsed(args)
    cases, expected, outside = load()
    files = options.files or [
        file
        for file, (group, _) in cases.items()
        if not options.group or group in options.group
    ]
    wanted = {
        file: [name for name in cases[file][1] if (file, name) not in outside]
        for file in files
    }
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        work = {
            file: pool.submit(run_file, options.chainer, file, options.timeout)
            for file in files
            if wanted[file]
        }
        outcomes = {}
        for file, future in work.items():
            outcomes[file] = future.result()
            tell(file, wanted[file], *outcomes[file])
    return report(cases, files, wanted, expected, outcomes)


def parsed(args):
    parser = argparse.ArgumentParser(
        prog="python -m tests.chainer_suite.run",
        description="Run Chainer's own tests on dyrnn.chainer.",
    )
    parser.add_argument("chainer", type=Path, help="a checkout of Chainer v7.8.1")
    parser.add_argument("files", nargs="*", help="below tests/chainer_tests; all")
    parser.add_argument("--group", action="append", help="only files of this group")
    parser.add_argument("--jobs", type=int, default=1, help="files at a time; 1")
    parser.add_argument("--timeout", type=float, default=900, help="seconds for a file")
    options = parser.parse_args(args)
    version = options.chainer / "chainer/_version.py"
    if not version.is_file() or VERSION not in version.read_text(encoding="utf-8"):
        parser.error(f"{options.chainer} is not a checkout of Chainer v{VERSION}")
    options.chainer = options.chainer.resolve()
    unknown = [file for file in options.files if file not in load()[0]]
    if unknown:
        parser.error(f"not in cases.txt: {', '.join(unknown)}")
    return options


def run_file(checkout, file, timeout):
    """Run one file in a process of its own.

    Returns {id: (outcome, why)}, and why it ended early, if it did.
    """
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / "outcomes"
        tests = checkout / "tests"
        command = [
            *(sys.executable, "-m", "pytest", "-q", "--tb=short", "--noconftest"),
            *("-p", "tests.chainer_suite.plugin", "-p", "no:cacheprovider"),
            *("-c", os.devnull, "--rootdir", tests, "-W", "default"),
            *("-o", "python_classes=Test", "-o", "python_functions=test"),
            tests / "chainer_tests" / file,
        ]
        with open(Path(folder) / "log", "wb") as log:
            process = subprocess.Popen(
                [str(part) for part in command],
                cwd=folder,
                env=environment(checkout, written, folder),
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                code = process.wait(timeout)
                end = "" if code in (0, 1) else f"pytest ended with {code}"
            except subprocess.TimeoutExpired:
                end = f"it took more than {timeout:.0f} seconds"
            finally:
                stop(process)
        log = (Path(folder) / "log").read_text(errors="replace")
        lines = written.read_text().splitlines() if written.exists() else []
        return outcomes_of(lines), end and f"{end}:\n{log[-2000:]}"


def environment(checkout, written, folder):
    return {
        "OPENBLAS_NUM_THREADS": "1",
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "PYTHONDONTWRITEBYTECODE": "1",
        "MPLBACKEND": "Agg",
        "CHAINER_DATASET_ROOT": folder,
        "CHAINER_CHECKOUT": str(checkout),
        "CHAINER_OUTCOMES": str(written),
    }


def stop(process):
    """End a process and those that it has started and left."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def outcomes_of(lines):
    """Return {id: (outcome, why)}; of two cases of one id, that which failed."""
    outcomes = {}
    for line in map(json.loads, lines):
        if outcomes.get(line["id"], ("",))[0] != "failed":
            outcomes[line["id"]] = line["outcome"], line["why"]
    return outcomes


def tell(file, wanted, outcomes, end):
    """Print how a file went."""
    passed = sum(outcomes.get(name, ("",))[0] == "passed" for name in wanted)
    print(f"{file:70} {passed:5} of {len(wanted):5} passed")
    if end:
        print(end)
    sys.stdout.flush()


def report(cases, files, wanted, expected, outcomes):
    """Print the groups, then what should not be; return the exit code."""
    groups = collections.defaultdict(collections.Counter)
    unexpected = collections.defaultdict(list)
    for file in files:
        group, ids = cases[file]
        groups[group]["left out"] += len(ids) - len(wanted[file])
        for name in wanted[file]:
            outcome, why = outcomes[file][0].get(name, ("failed", "It did not run."))
            has_passed = outcome == "passed"
            groups[group]["passed" if has_passed else "failed"] += 1
            if has_passed is ((file, name) in expected):
                why = SURPRISE if has_passed else last_error(why or outcome)
                unexpected[file, why].append(name)
    total = sum(groups.values(), collections.Counter())
    print(f"\n{'group':26}{'passed':>8}{'failed':>8}{'left out':>10}")
    for group, counts in [*groups.items(), ("all", total)]:
        row = [counts[name] for name in ("passed", "failed", "left out")]
        print(f"{group:26}{row[0]:8}{row[1]:8}{row[2]:10}")
    for (file, why), names in unexpected.items():
        print(f"\n{file}: {len(names)}", *folded(names), sep="\n    ")
        print(f"  {why}")
    count = sum(map(len, unexpected.values()))
    print(f"\n{count} of {total['passed'] + total['failed']} not as expected")
    return 1 if unexpected else 0


def last_error(why):
    """Return the line of a traceback that says what is wrong."""
    lines = [line[1:].strip() for line in why.splitlines() if line.startswith("E ")]
    told = [line for line in lines if re.match(r"[\w.]*[A-Z]\w*: |assert ", line)]
    told = [line for line in told if "Parameterized test failed" not in line]
    return (told or lines or why.splitlines()[-1:] or ["?"])[0][:300]


if __name__ == "__main__":
    sys.exit(main())
