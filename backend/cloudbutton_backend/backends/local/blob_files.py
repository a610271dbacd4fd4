"""Large captured values in shared memory: each put there once, and kept for later jobs."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Sequence, Set
from concurrent.futures import ThreadPoolExecutor

from cloudbutton_backend.capture import Blob
from cloudbutton_backend.worker.shared_memory import SharedRegion
from cloudbutton_backend.worker.wire import Buffer, layout


class BlobFiles:
    """Blobs by their digest, those used last at the end. Safe from any thread."""

    def __init__(self, room: int | None = None) -> None:
        self._regions: OrderedDict[str, SharedRegion] = OrderedDict()
        self._lock = threading.Lock()
        self._nbytes = 0
        self._room = _memory() // 4 if room is None else room

    def put(self, blob: Blob) -> None:
        """Copy a value into shared memory, unless it is there."""
        with self._lock:
            if blob.digest in self._regions:
                self._regions.move_to_end(blob.digest)
                return
            pieces, length = layout(blob.parts)
            region = SharedRegion(length)
            try:
                fill(region, pieces)
            except BaseException:  # no memory, or interrupted: what is there must not stay
                region.close()
                raise
            self._regions[blob.digest] = region
            self._nbytes += region.nbytes

    def region(self, blob: Blob) -> SharedRegion:
        """Return where a value is, putting it there if it was dropped for want of room."""
        self.put(blob)
        return self._regions[blob.digest]

    def trim(self, used: Set[str]) -> list[str]:
        """Drop the blobs that were not used for longest, beyond the room there is, but none in `used`."""
        dropped: list[str] = []
        with self._lock:
            for digest in list(self._regions):
                if self._nbytes <= self._room:
                    break
                if digest not in used:
                    region = self._regions.pop(digest)
                    self._nbytes -= region.nbytes
                    region.close()
                    dropped.append(digest)
        return dropped

    def close(self) -> None:
        """Give all memory back."""
        with self._lock:
            for region in self._regions.values():
                region.close()
            self._regions.clear()
            self._nbytes = 0


def _memory() -> int:
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
