"""Large captured values in shared memory: each put there once, and kept for later jobs."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Set

from cloudbutton_backend.backends.local.shared_memory import SharedRegion, fill
from cloudbutton_backend.capture import Blob
from cloudbutton_backend.worker.wire import layout


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
