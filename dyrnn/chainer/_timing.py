"""What the timers of functions and of links share."""

import sys
import time

import numpy as np

from dyrnn.chainer.backends import cuda

_UNITS = {"sec": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


class Timer:
    """Times of nested calls: ``call_history`` has (name, seconds) of each."""

    table = _UNITS
    heading = "Name"

    def __init__(self):
        self.call_history = []
        self._running_stack = []
        self._depth = 0
        self._total_time = 0

    def _start(self, xp):
        self.xp = xp
        if xp is np:
            self._running_stack.append(time.perf_counter())
        else:
            events = cuda.Event(), cuda.Event()
            events[0].record()
            self._running_stack.append(events)
        self._depth += 1

    def _stop(self, xp, name):
        assert xp is self.xp
        start = self._running_stack.pop()
        if xp is np:
            elapsed = time.perf_counter() - start
        else:
            start, stop = start
            stop.record()
            stop.synchronize()
            elapsed = cuda.cuda.get_elapsed_time(start, stop) / 1000
        self.call_history.append((name, elapsed))
        assert self._depth > 0
        self._depth -= 1
        if self._depth == 0:
            self._total_time += elapsed

    def total_time(self):
        """Return the seconds of all outermost calls."""
        return self._total_time

    def summary(self):
        """Return {name: {"elapsed_time": seconds, "occurrence": calls}}."""
        table: dict[str, dict] = {}
        for name, elapsed in self.call_history:
            record = table.setdefault(name, {"elapsed_time": 0, "occurrence": 0})
            record["elapsed_time"] += elapsed
            record["occurrence"] += 1
        return table

    def _choose_unit(self, second):
        for unit in ("sec", "ms", "us"):
            if second * _UNITS[unit] >= 1:
                return float(_UNITS[unit]), unit
        return float(_UNITS["ns"]), "ns"

    def print_report(self, unit="auto", file=None):
        """Print the summary; ``unit`` is of ``table``, auto, or auto_foreach."""
        file = sys.stdout if file is None else file
        table = self.summary()
        if unit == "auto":
            longest = max(record["elapsed_time"] for record in table.values())
            unit = self._choose_unit(longest)[1]
        rows = [(self.heading, "ElapsedTime", "Occurrence")]
        for name, record in table.items():
            second = record["elapsed_time"]
            own = self._choose_unit(second)[1] if unit == "auto_foreach" else unit
            time_text = f"{second * _UNITS[own]:3.2f}{own}"
            rows.append((name, time_text, str(record["occurrence"])))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            cells = [cell.rjust(w) for cell, w in zip(row, widths, strict=True)]
            file.write("  ".join(cells) + "\n")
        if hasattr(file, "flush"):
            file.flush()
