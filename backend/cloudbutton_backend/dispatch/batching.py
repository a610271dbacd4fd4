"""Sizes batches by measured durations. Pure arithmetic."""

from __future__ import annotations

import math
from typing import Final

from cloudbutton_backend.cost.run_model import GROWTH, MAX_ITEMS, TAIL_SECONDS, TAIL_SHARE

BATCH_BYTES: Final = 4 << 20
"""Data worth moving at a time: larger batches would leave workers waiting for their copy."""

PART_BYTES: Final = 64 << 20
"""The same where everything is sent at once, and no worker waits for it."""


class BatchSizer:
    """Learns how long items take, and sizes batches accordingly.

    The mean is taken over the batches so far, each counting half as much as the next one, so that a
    slow first item (imports, cold caches) is soon forgotten.

    Parameters
    ----------
    batch_seconds
        Work worth sending in one go.
    at_once
        If everything is to be on its way as soon as it is known how long items take: the most
        seconds of work in one batch. None: batches are sized so that all workers finish together.
    """

    __slots__ = (
        "_at_once",
        "_heaviest",
        "_items",
        "_largest",
        "_part",
        "_seconds",
        "batch_seconds",
        "slowest",
    )

    def __init__(self, batch_seconds: float, at_once: float | None = None) -> None:
        self.batch_seconds = batch_seconds
        self._at_once = at_once
        self._part: int | None = None
        self._seconds = 0.0
        self._items = 0.0
        self._largest = 0
        self._heaviest = 0.0
        self.slowest = 0.0
        """Seconds that an item took at most, as far as is known."""

    def weigh(self, items: int, nbytes: int) -> None:
        """Record that `items`, or their results, are `nbytes` together."""
        self._heaviest = max(self._heaviest, nbytes / items)

    def learn(self, items: int, seconds: float) -> None:
        """Record that `items` took `seconds` in a worker."""
        self._seconds = self._seconds / 2 + seconds
        self._items = self._items / 2 + items
        self._largest = max(self._largest, items)
        self.slowest = max(self.slowest, seconds / items)

    @property
    def mean(self) -> float | None:
        """The mean duration of an item in seconds, None before the first has ended."""
        return self._seconds / self._items if self._items else None

    def size(self, left: int | None, workers: int) -> int:
        """Return how many items the next batch should have.

        Parameters
        ----------
        left
            Items that have not been sent; None when not known.
        workers
            Workers that share them.
        """
        mean = self.mean
        if mean is None:
            return 1
        mean = max(mean, 1e-9)
        if self._at_once is not None and left is not None:
            if self._part is None:
                self._part = self._even_part(left, max(1, workers), self._at_once / mean)
            return self._part
        size = min(self.batch_seconds / mean, self._largest * GROWTH, MAX_ITEMS)
        if self._heaviest:
            size = min(size, BATCH_BYTES / self._heaviest)
        if left is not None:
            share = max(left / (TAIL_SHARE * max(1, workers)), TAIL_SECONDS / mean)
            size = min(size, share)
        return max(1, math.floor(size))

    def _even_part(self, left: int, workers: int, most: float) -> int:
        """Return what each worker gets of all that is left, so that nothing waits here."""
        size = min(math.ceil(left / workers), most, MAX_ITEMS)
        if self._heaviest:
            size = min(size, PART_BYTES / self._heaviest)
        return max(1, math.floor(size))

    def is_quick(self) -> bool:
        """Whether items are short enough that a worker should already hold its next batch."""
        mean = self.mean
        return mean is not None and mean < self.batch_seconds / 2
