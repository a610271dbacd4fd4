"""Anonymous shared memory: it has no name on any file system, so nothing is left when a kernel dies."""

from __future__ import annotations

import contextlib
import mmap
import os
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from cloudbutton_backend.worker.wire import Buffer

_SMALLEST: Final = 1 << 20
_KEEP_FREE: Final = 512 << 20
"""Bytes of free segments kept for reuse: warm pages copy ten times faster than fresh ones."""


class SharedRegion:
    """Shared memory that another process maps by descriptor (POSIX) or by tag (Windows)."""

    def __init__(self, nbytes: int) -> None:
        self.nbytes = max(nbytes, mmap.PAGESIZE)
        self.tag: str | None = None
        self.fd = -1
        if sys.platform == "win32":
            self.tag = f"cloudbutton-{os.urandom(8).hex()}"
            self.map = mmap.mmap(-1, self.nbytes, tagname=self.tag)
            return
        self.fd = _anonymous_file()
        try:
            os.ftruncate(self.fd, self.nbytes)
            self.map = mmap.mmap(self.fd, self.nbytes)
        except BaseException:
            os.close(self.fd)
            raise

    @property
    def fds(self) -> list[int]:
        return [] if self.fd < 0 else [self.fd]

    def write(self, offset: int, pieces: Sequence[Buffer]) -> None:
        """Copy `pieces` one after the other to `offset`."""
        for piece in pieces:
            self.map[offset : offset + len(piece)] = piece
            offset += len(piece)

    def close(self) -> None:
        """Give the memory back; safe to repeat."""
        self.map.close()
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def _anonymous_file() -> int:
    """Return a descriptor of memory-backed storage without a name."""
    if hasattr(os, "memfd_create"):
        with contextlib.suppress(OSError):  # a system older than the Python, or a strict sandbox
            return os.memfd_create("cloudbutton", os.MFD_CLOEXEC)
    directory = "/dev/shm" if os.path.isdir("/dev/shm") else None
    fd, path = tempfile.mkstemp(prefix="cloudbutton-", dir=directory)
    os.unlink(path)
    return fd


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
        """Let a segment go: the user's code still holds its memory, or too much is free."""
        self._regions.pop(number).close()

    def close(self) -> None:
        for region in self._regions.values():
            region.close()
        self._regions.clear()
        self._free.clear()
