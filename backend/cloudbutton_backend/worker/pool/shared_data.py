"""Shared memory of a pool: large captured values, and segments for the items under way."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from cloudbutton_backend.worker.blob_cache import BlobCache
from cloudbutton_backend.worker.pool.protocol import Blob
from cloudbutton_backend.worker.shared_memory import SharedRegion
from cloudbutton_backend.worker.wire import Buffer, layout

_SMALLEST: Final = 1 << 20
_KEEP_FREE: Final = 512 << 20
"""Bytes of free segments kept for reuse: warm pages copy ten times faster than fresh ones."""


class SharedBlobs(BlobCache[SharedRegion]):
    """Captured values in shared memory, kept for later jobs.

    Parameters
    ----------
    room
        Bytes for those that nothing uses; None for a quarter of the machine's memory.
    """

    def __init__(self, room: int | None = None) -> None:
        super().__init__(memory() // 4 if room is None else room, SharedRegion.close)

    def adopt(self, digest: str, region: SharedRegion) -> None:
        """Keep a value that is in shared memory already."""
        self.get(digest, region.nbytes, lambda: region)

    def region(self, blob: Blob) -> SharedRegion:
        """Return where a value is, copying it there if it is not."""
        pieces, length = layout(blob.parts)

        def copy() -> SharedRegion:
            region = SharedRegion(length)
            try:
                fill(region, pieces)
            except BaseException:  # no memory, or interrupted: what is there must not stay
                region.close()
                raise
            return region

        return self.get(blob.digest, length, copy)


def memory() -> int:
    """Return the machine's memory in bytes, or a careful guess."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 8 << 30


def fill(region: SharedRegion, pieces: Sequence[Buffer], threads: int = 2) -> None:
    """Write `pieces` into a fresh region, in parallel where they are large.

    Writing through the descriptor lets the system allocate pages in bulk and without the
    interpreter's lock; storing through the map would fault on each page.
    """
    total = sum(len(piece) for piece in pieces)
    if region.fd < 0 or total < 8 << 20:
        region.write(0, pieces)
        return
    jobs: list[tuple[memoryview, int]] = []
    chunk = max(4 << 20, -(-total // (threads * 4)))
    position = 0
    for piece in pieces:
        view = memoryview(piece)
        for start in range(0, len(view), chunk):
            jobs.append((view[start : start + chunk], position + start))
        position += len(view)

    def write(job: tuple[memoryview, int]) -> None:
        view, offset = job
        while view:
            written = os.pwrite(region.fd, view, offset)
            view, offset = view[written:], offset + written

    with ThreadPoolExecutor(threads) as pool:  # ends: its threads only copy memory
        list(pool.map(write, jobs))


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
