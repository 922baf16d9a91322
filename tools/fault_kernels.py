"""Let threads, processors and processes fail under the kernels in C: nothing hangs.

``python -m tools.fault_kernels`` compiles a library that stands before the C library's
and lets calls of the kernels fail: threads are not started, or late; the processors of
a thread cannot be asked for or set. With such faults, drawn at random, small programs
compute on threads: alone, many at once, while the process forks, in worker processes,
in ``__del__`` and in functions that run at the interpreter's exit, and in threads that
the end of the program cuts off. Each must end in time, with the right exit code; each
result must have the right bits, or be refused because there are no threads.
"""

import argparse
import atexit
import collections
import contextlib
import hashlib
import multiprocessing
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

import dyrnn
import dyrnn.functions as F
import dyrnn.links as L

PATIENCE = 60  # seconds after which a program hangs
LIBRARY = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
static int number(const char *name) {
  const char *text = getenv(name);
  return text ? atoi(text) : -1;
}
static int is_ours(const void *address) {
  Dl_info info;
  return dladdr(address, &info) && info.dli_fname && strstr(info.dli_fname, "compiled");
}
static int next(const char *name, int *count) { /* whether this call fails */
  int first = number(name), k = __atomic_fetch_add(count, 1, __ATOMIC_SEQ_CST);
  return first >= 0 && k >= first && k < first + number("FAULT_LENGTH");
}
struct start { void *(*work)(void *); void *argument; };
static void *late(void *given) {
  struct start start = *(struct start *)given;
  free(given);
  usleep(number("FAULT_LATE"));
  return start.work(start.argument);
}
int pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
                   void *(*work)(void *), void *argument) {
  static int count;
  int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *) =
      dlsym(RTLD_NEXT, "pthread_create");
  if (!is_ours(work)) return real(thread, attributes, work, argument);
  if (next("FAULT_CREATE", &count)) return EAGAIN;
  if (number("FAULT_LATE") < 0) return real(thread, attributes, work, argument);
  struct start *start = malloc(sizeof *start);
  start->work = work, start->argument = argument;
  return real(thread, attributes, late, start);
}
int sched_setaffinity(pid_t process, size_t size, const cpu_set_t *set) {
  static int count;
  int (*real)(pid_t, size_t, const cpu_set_t *) = dlsym(RTLD_NEXT, "sched_setaffinity");
  if (next("FAULT_SET", &count)) { errno = EPERM; return -1; }
  return real(process, size, set);
}
int sched_getaffinity(pid_t process, size_t size, cpu_set_t *set) {
  static int count;
  int (*real)(pid_t, size_t, cpu_set_t *) = dlsym(RTLD_NEXT, "sched_getaffinity");
  if (next("FAULT_GET", &count)) { errno = EINVAL; return -1; }
  return real(process, size, set);
}
int sched_getcpu(void) {
  static int count;
  int (*real)(void) = dlsym(RTLD_NEXT, "sched_getcpu");
  if (next("FAULT_CPU", &count)) { errno = ENOSYS; return -1; }
  return real();
}
"""
FAULTS = ("FAULT_CREATE", "FAULT_LATE", "FAULT_SET", "FAULT_GET", "FAULT_CPU")


def compute():
    """Return a digest of an LSTM's pass in both directions, on all threads."""
    with dyrnn.random.Streams(1):
        model = L.LSTM(24, 160)
    x = np.random.default_rng(1).normal(size=(4, 8, 24)).astype(np.float32)
    h = model(x)
    F.sum(h * h).backward()
    total = hashlib.sha256(h.array.tobytes())
    for _, param in sorted(model.namedparams()):
        total.update(param.grad.tobytes())
    return total.hexdigest()


def tell(name="result", threads=None):
    """Write a digest, or that there are no threads, as one line."""
    dyrnn.config.threads = threads or dyrnn.config.threads
    try:
        found = compute()
    except RuntimeError as error:
        found = "refused" if "starts no more threads" in str(error) else repr(error)
    os.write(1, f"{name} {found}\n".encode())


def _loop(until):
    while time.monotonic() < until:
        tell()


def alone(_):
    """Compute one after the other."""
    for _ in range(3):
        tell()


def together(_):
    """Compute in many threads at once."""
    threads = [threading.Thread(target=tell) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()


def fork(rng):
    """Fork while threads compute; parent, child and grandchild compute."""
    threading.Thread(target=_loop, args=(time.monotonic() + 0.1,)).start()
    time.sleep(rng.uniform(0, 0.05))
    tell()
    child = os.fork()
    if child == 0:
        tell("child")
        grandchild = os.fork()
        tell("grandchild")
        if grandchild:
            os.waitpid(grandchild, 0)
        os._exit(0)
    tell()
    if os.waitpid(child, 0)[1]:
        sys.exit(9)


def processes(rng):
    """Compute in processes that multiprocessing starts."""
    tell()
    context = multiprocessing.get_context(rng.choice(["fork", "forkserver", "spawn"]))
    arguments = "child", dyrnn.config.threads
    workers = [context.Process(target=tell, args=arguments) for _ in range(2)]
    for each in workers:
        each.start()
    tell()
    for each in workers:
        each.join()
        if each.exitcode:
            sys.exit(9)


class Last:
    """Computes when it is thrown away."""

    def __init__(self, tell):
        self.tell = tell

    def __del__(self):
        self.tell("del")


def at_exit(rng):
    """Compute at the end of the interpreter, with and without threads before."""
    threads, dyrnn.config.threads = dyrnn.config.threads, 1
    compute()  # all that it imports, which the very end does not allow
    dyrnn.config.threads = threads
    if rng.random() < 0.5:
        tell()
    atexit.register(tell, "exit")
    sys.modules["last"] = Last(tell)


def cut_off(rng):
    """End while threads that nobody waits for compute."""
    for _ in range(3):
        arguments = (time.monotonic() + PATIENCE,)
        threading.Thread(target=_loop, args=arguments, daemon=True).start()
    time.sleep(rng.uniform(0, 0.1))
    if rng.random() < 0.3:
        os._exit(0)


PROGRAMS = {
    each.__name__: each for each in (alone, together, fork, processes, at_exit, cut_off)
}


def compile_library(folder):
    """Return the path of the library."""
    source, library = Path(folder, "faults.c"), Path(folder, "faults.so")
    source.write_text(LIBRARY)
    command = ["cc", "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"]
    subprocess.run(command, check=True)
    return library


def draw_faults(rng):
    """Return the environment of one to three faults, from a random call on."""
    faults = {"FAULT_LENGTH": rng.choice(["1", "2", "1000000"])}
    for name in rng.sample(FAULTS, rng.choice((1, 1, 2, 3))):
        highest = 20_000 if name == "FAULT_LATE" else 6
        faults[name] = str(rng.randrange(highest))
    return faults


def run(program, threads, seed, faults, library):
    """Run a program with faults; return what it said, and its exit code or None."""
    command = [sys.executable, "-W", "ignore", "-m", "tools.fault_kernels"]
    command += ["--program", program, "--threads", str(threads), "--seed", str(seed)]
    environment = {**os.environ, **faults, "LD_PRELOAD": str(library)}
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(
            command,
            env=environment,
            stdout=said,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            code = process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            code = None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, 9)
        process.wait()
        said.seek(0)
        return said.read().splitlines(), code


def search(count, seed=0):
    """Return how often each program ran, the number of results, and problems."""
    rng, done, problems = random.Random(seed), collections.Counter(), []
    outcomes, wanted = collections.Counter(), {}
    with tempfile.TemporaryDirectory() as folder:
        library = compile_library(folder)
        for number in range(count):
            program, threads = rng.choice(list(PROGRAMS)), rng.choice((2, 3, 4, 7))
            faults = draw_faults(rng)
            if threads not in wanted:
                said, _ = run("alone", threads, 0, {}, library)
                wanted[threads] = said[0].split()[1]
            said, code = run(program, threads, rng.randrange(10**6), faults, library)
            done[program] += 1
            allowed = {wanted[threads], *(["refused"] if _has_refusals(faults) else [])}
            found = [line.split(maxsplit=1)[-1] for line in said]
            outcomes.update("refused" if f == "refused" else "computed" for f in found)
            wrong = [f"exit code {code}"] if code else []
            wrong = ["it hangs"] if code is None else wrong
            wrong += [line for line in said if line.split()[-1] not in allowed][:2]
            wrong += ["no result"] if not found and program != "cut_off" else []
            problems += [
                f"{number}: {program}, {threads}, {faults}: {x}" for x in wrong
            ]
    return done, outcomes, problems


def _has_refusals(faults):
    return "FAULT_CREATE" in faults


def main():
    """Print the figures; return 1 if there was a problem."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--program", choices=PROGRAMS, help=argparse.SUPPRESS)
    parser.add_argument("--threads", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.program:
        dyrnn.config.threads = options.threads
        PROGRAMS[options.program](random.Random(options.seed))
        return 0
    done, outcomes, problems = search(options.count, options.seed)
    runs = ", ".join(f"{number} {name}" for name, number in done.items())
    results = ", ".join(f"{number} {name}" for name, number in outcomes.items())
    print(f"{sum(done.values())} runs ({runs}): {results}; {len(problems)} problems")
    for problem in problems[:20]:
        print(f"  {problem}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
