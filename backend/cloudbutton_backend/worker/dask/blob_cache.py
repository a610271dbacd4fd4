"""Captured values beside a Dask worker: in files that all of its processes map, kept for later jobs."""

from __future__ import annotations

import os
import tempfile
import threading
from collections import Counter, OrderedDict
from collections.abc import Iterable
from typing import Final

KEEP_BYTES: Final = 4 << 30
"""What is kept beyond what is in use."""


class BlobCache:
    """Values by their digest, those used last at the end. Safe from any thread.

    Parameters
    ----------
    folder
        Where the files are, which have no names.
    """

    def __init__(self, folder: str, room: int = KEEP_BYTES) -> None:
        self._folder, self._room = folder, room
        self._lock = threading.Lock()
        self._files: OrderedDict[str, tuple[int, int]] = OrderedDict()
        """File descriptor and length, by digest."""
        self._used: Counter[str] = Counter()

    def hold(self, digests: Iterable[str]) -> None:
        """Drop none of these before `let_go` says so."""
        with self._lock:
            self._used.update(list(digests))

    def let_go(self, digests: Iterable[str]) -> None:
        """A call that used these has ended."""
        with self._lock:
            self._used.subtract(list(digests))
            self._used += Counter()  # forgets those that nobody uses

    def file(self, digest: str, data: bytes) -> tuple[int, int]:
        """Return the descriptor of a file with a value that is held, and its length."""
        with self._lock:
            if digest not in self._files:
                with tempfile.TemporaryFile(dir=self._folder) as file:
                    file.write(data)
                    file.flush()
                    self._files[digest] = os.dup(file.fileno()), len(data)
                self._make_room()
            self._files.move_to_end(digest)
            return self._files[digest]

    def _make_room(self) -> None:
        total = sum(nbytes for _, nbytes in self._files.values())
        for digest in [digest for digest in self._files if not self._used[digest]]:
            if total <= self._room:
                return
            fd, nbytes = self._files.pop(digest)
            os.close(fd)  # processes that map it keep it
            total -= nbytes

    def close(self) -> None:
        """Give all room back. Safe to repeat."""
        with self._lock:
            for fd, _ in self._files.values():
                os.close(fd)
            self._files.clear()
