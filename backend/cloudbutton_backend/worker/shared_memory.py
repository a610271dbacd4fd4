"""Anonymous shared memory, without a name on any file system: nothing is left when a kernel dies."""

from __future__ import annotations

import contextlib
import mmap
import os
import sys
import tempfile
from collections.abc import Sequence

from cloudbutton_backend.worker.wire import Buffer


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
        self.fd = anonymous_file()
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


def anonymous_file() -> int:
    """Return a descriptor of memory-backed storage without a name."""
    if hasattr(os, "memfd_create"):
        with contextlib.suppress(OSError):  # a system older than the Python, or a strict sandbox
            return os.memfd_create("cloudbutton", os.MFD_CLOEXEC)
    directory = "/dev/shm" if os.path.isdir("/dev/shm") else None
    fd, path = tempfile.mkstemp(prefix="cloudbutton-", dir=directory)
    os.unlink(path)
    return fd
