"""What progress bars on a terminal are made of."""

import collections
import datetime
import sys
import time


class ProgressBar:
    """Lines that are written again and again at the same place; say ``get_lines``."""

    def __init__(self, bar_length=None, out=None):
        self._bar_length = 50 if bar_length is None else bar_length
        self._out = sys.stdout if out is None else out
        self._recent_timing = collections.deque(maxlen=100)

    def update_speed(self, iteration, epoch_detail):
        """Return iterations and epochs per second of the last hundred updates."""
        now = time.time()
        self._recent_timing.append((iteration, epoch_detail, now))
        old_iteration, old_epoch, then = self._recent_timing[0]
        if now == then:
            return float("inf"), float("inf")
        seconds = now - then
        speed = (iteration - old_iteration) / seconds
        return speed, (epoch_detail - old_epoch) / seconds

    def get_lines(self):
        """Return the lines to write."""
        raise NotImplementedError

    def _line(self, label, rate):
        marks = "#" * int(rate * self._bar_length)
        return f"{label} [{marks:.<{self._bar_length}}] {rate:6.2%}\n"

    def _estimate(self, rest, speed, iterations_per_second):
        seconds = max(rest / speed, 0.0) if speed else 0.0
        left = datetime.timedelta(seconds=seconds)
        return (
            f"{iterations_per_second:10.5g} iters/sec. Estimated time to finish: "
            f"{left}.\n"
        )

    def update(self):
        """Write the lines."""
        self.erase_console()
        lines = self.get_lines()
        for line in lines:
            self._out.write(line)
        self.move_cursor_up(len(lines))
        self.flush()

    def close(self):
        """Erase the lines."""
        self.erase_console()
        self.flush()

    def erase_console(self):
        """Erase everything below the cursor."""
        self._out.write("\033[J")

    def move_cursor_up(self, n):
        """Move the cursor up by ``n`` lines."""
        self._out.write(f"\033[{n:d}A")

    def flush(self):
        """Flush the file, if it can."""
        if hasattr(self._out, "flush"):
            self._out.flush()
