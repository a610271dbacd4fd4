"""Captured values by their digest: each made available once, and kept for later jobs while there is room."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Set
from typing import Generic, TypeVar

Held = TypeVar("Held")


class BlobCache(Generic[Held]):
    """Files, shared memory or futures that hold values, by digest. Safe from any thread.

    Parameters
    ----------
    room
        Bytes for values that nothing uses.
    release
        Gives back what a value takes.
    """

    def __init__(self, room: int, release: Callable[[Held], object]) -> None:
        self._room, self._release = room, release
        self._lock = threading.Lock()
        self._held: OrderedDict[str, tuple[Held, int]] = OrderedDict()
        """With its bytes; the one used last at the end."""
        self._nbytes = 0

    @property
    def free(self) -> int:
        """Bytes of its room that are left; below 0 where more is in use."""
        return self._room - self._nbytes

    def get(
        self,
        digest: str,
        nbytes: int,
        make: Callable[[], Held],
        is_valid: Callable[[Held], bool] = lambda _: True,
    ) -> Held:
        """Return what stands for a value, making it if there is none, or none that is still valid."""
        with self._lock:
            if digest in self._held and not is_valid(self._held[digest][0]):
                self._remove(digest)
            if digest not in self._held:
                self._held[digest] = make(), nbytes
                self._nbytes += nbytes
            self._held.move_to_end(digest)
            return self._held[digest][0]

    def evict(self, used: Set[str], wanted: int = 0) -> list[str]:
        """Drop the values that were used least recently, until the rest and `wanted` bytes fit the room.

        Returns
        -------
        list
            The digests of what was dropped. None of `used` is among them.
        """
        dropped = []
        with self._lock:
            for digest in [digest for digest in self._held if digest not in used]:
                if wanted <= self.free:
                    break
                self._remove(digest)
                dropped.append(digest)
        return dropped

    def remove(self, digest: str) -> None:
        """Drop a value."""
        with self._lock:
            self._remove(digest)

    def _remove(self, digest: str) -> None:
        held, nbytes = self._held.pop(digest)
        self._nbytes -= nbytes
        self._release(held)

    def close(self) -> None:
        """Drop all values. Safe to repeat."""
        with self._lock:
            for digest in list(self._held):
                self._remove(digest)

    def __contains__(self, digest: str) -> bool:
        return digest in self._held
