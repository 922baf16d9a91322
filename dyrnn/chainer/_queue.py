"""The order in which functions run backwards."""

import heapq


class RankQueue:
    """Functions, each once, those of the highest rank first."""

    def __init__(self):
        self._heap = []
        self._seen = set()

    def __bool__(self):
        return bool(self._heap)

    def push(self, func):
        """Take the function in, unless it was here before."""
        if func is not None and func not in self._seen:
            heapq.heappush(self._heap, (-func.rank, len(self._seen), func))
            self._seen.add(func)

    def pop(self):
        """Return the next function."""
        return heapq.heappop(self._heap)[2]
