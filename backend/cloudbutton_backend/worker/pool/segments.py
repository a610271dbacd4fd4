"""Shared segments for the items under way, reused by size so that their pages stay warm."""

from __future__ import annotations

from collections import defaultdict
from typing import Final

from cloudbutton_backend.worker.shared_memory import SharedRegion

_SMALLEST: Final = 1 << 20
_KEEP_FREE: Final = 512 << 20
"""Bytes of free segments kept for reuse: warm pages copy ten times faster than fresh ones."""


class SharedArena:
    """Segments for items under way, reused by size so that their pages stay warm."""

    def __init__(self) -> None:
        self._regions: dict[int, SharedRegion] = {}
        self._free: dict[int, list[int]] = defaultdict(list)
        self._free_bytes = 0
        self._next = 0

    def take(self, nbytes: int) -> tuple[int, SharedRegion]:
        """Return the number and region of a free segment of at least `nbytes`."""
        size = _SMALLEST
        while size < nbytes:
            size *= 2
        if self._free[size]:
            number = self._free[size].pop()
            self._free_bytes -= size
            return number, self._regions[number]
        number = self._next
        self._next += 1
        self._regions[number] = SharedRegion(size)
        return number, self._regions[number]

    def give_back(self, number: int) -> bool:
        """Take a segment back; return False if it was dropped instead of kept for reuse."""
        size = self._regions[number].nbytes
        if self._free_bytes + size > _KEEP_FREE:
            self.drop(number)
            return False
        self._free[size].append(number)
        self._free_bytes += size
        return True

    def drop(self, number: int) -> None:
        """Release a segment: the user's code still holds its memory, or too much is free."""
        self._regions.pop(number).close()

    def close(self) -> None:
        for region in self._regions.values():
            region.close()
        self._regions.clear()
        self._free.clear()
