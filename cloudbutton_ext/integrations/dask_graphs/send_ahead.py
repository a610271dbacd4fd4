"""How many of a graph's tasks are sent ahead of those that run: few long or large ones, many short ones."""

from __future__ import annotations

from typing import Final

AHEAD_SECONDS: Final = 0.1
"""Work that each worker has at hand: enough for batches of the usual length."""
AHEAD_BYTES: Final = 64 << 20
"""What the results of that work may take together: whole arrays are not made long before their use."""
LEAST: Final = 2
"""Tasks for each worker: one that runs, and one that is on its way."""
MOST: Final = 256


class SendAheadWindow(int):
    """How many tasks may be under way, as a number that follows what is learned of them.

    Dask's `get_async` takes the number of workers, and each time it sends tasks it subtracts those
    that are under way from it. What it sends is what it considers best just then. If everything
    that is ready were sent at once, a graph's first tasks would all be run before the first of their
    results is used, and all would have to be held.
    """

    seconds: float | None
    """How long a task takes; None while that is not known."""
    nbytes: float
    """How large its result is."""

    def __new__(cls, workers: int) -> SendAheadWindow:
        """Return the window for so many workers."""
        self = super().__new__(cls, workers)
        self.seconds, self.nbytes = None, 0.0
        return self

    def __repr__(self) -> str:
        return f"<Window: {self.size} tasks for {int(self)} workers>"

    @property
    def size(self) -> int:
        """Tasks that may be under way."""
        return int(self) * tasks_ahead(self.seconds, self.nbytes)

    def learn(self, seconds: float | None, nbytes: int) -> None:
        """Take note of how long tasks take, and of the size of one's result."""
        self.seconds = seconds
        self.nbytes = (self.nbytes + nbytes) / 2

    def __sub__(self, under_way: int) -> int:
        return self.size - under_way


def tasks_ahead(seconds: float | None, nbytes: float) -> int:
    """Return how many tasks each worker may have, by how long they take and how large results are."""
    if seconds is None:
        return LEAST
    by_time = AHEAD_SECONDS / max(seconds, 1e-9)
    by_size = AHEAD_BYTES / max(nbytes, 1.0)
    return int(max(LEAST, min(by_time, by_size, MOST)))
