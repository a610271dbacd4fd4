"""A job's own result file: what a full disk refuses is held in memory, and written once there is room.

::

    accepted ──▶ written ◀───────────────── tried again: with new results, at the job's end,
        │                                      │         then every half minute
        └── the disk refuses ──▶ held ─────────┘
"""

from __future__ import annotations

import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Final

from cloudbutton_backend.results.result_record import ResultRecord
from cloudbutton_backend.worker.result_file import SegmentWriter

_IN_MEMORY: Final = 4 << 20
"""Bytes of small results that a job keeps in memory beside the file; the rest is read back."""
_FIRST_RETRY: Final = 0.5
_LAST_RETRY: Final = 5.0
"""Seconds before the first and, doubling, the later new tries while results arrive."""
_AT_ONCE: Final = 32 << 20
"""Bytes of held results written at a time: the thread that drives the job has other things to do."""
_MUCH: Final = 64 << 20
"""Bytes held from which on memory is looked at, and between two looks."""
_LEAST_SPARE: Final = 200 << 20
"""Bytes of memory that must be left; and a quarter of what is held, as readers take copies."""
_LATER: Final = 30.0
"""Seconds between two tries when the job has ended."""


class ResultFile:
    """The file for results of one job that did not come in a worker's file.

    Parameters
    ----------
    path
        The file, made with the first result; None to leave everything in memory.
    key
        Seals what is written.
    opened
        Called with the path when the file is made.
    changed
        Called without arguments when `notice` says something else after the job has ended.
    """

    def __init__(
        self,
        path: Path | None,
        opened: Callable[[Path], None],
        changed: Callable[[], None],
        key: bytes,
        clock: Callable[[], float] = time.monotonic,
        spare: Callable[[], int | None] | None = None,
    ) -> None:
        self._spare = spare or spare_memory
        self._held_bytes = 0
        self._look_at = _MUCH
        self._path = path
        self._opened = opened
        self._changed = changed
        self._key = key
        self._clock = clock
        self._lock = threading.Lock()  # the driver's thread, and that which tries again later
        self._writer: SegmentWriter | None = None
        self._held: deque[tuple[int, ResultRecord]] = deque()
        self._in_memory = 0
        self._reason: str | None = None
        self._delay = _FIRST_RETRY
        self._retry_at = 0.0

    def __repr__(self) -> str:
        return f"<ResultFile {self._path}, {len(self._held)} records held in memory>"

    @property
    def notice(self) -> str | None:
        """A line for the user about a disk that refuses, or refused for a while; None otherwise."""
        if self._reason is None:
            return None
        with self._lock:
            held = [entry.count for _, entry in self._held]
        if not held:
            return f"The disk refused results for a while ({self._reason}); all are on it by now."
        items = sum(held)
        which = f"{items:,} {'item' if items == 1 else 'items'}"
        size = _megabytes(self._held_bytes)
        return (
            f"Results cannot be written to disk ({self._reason}). In memory only: those of {which}"
            f" ({size}); on disk: all others. Nothing is lost while this process lives. Make room, with"
            " `cloudbutton gc` for example, and they are written without further ado."
        )

    def memory_is_short(self) -> str | None:
        """Return why no more can be held, in words, if that is so.

        A process that goes on nevertheless is killed by the system, and all that is held is lost.
        """
        held = self._held_bytes
        if held < self._look_at:
            return None
        self._look_at = held + _MUCH
        spare = self._spare()
        if spare is None or spare >= max(_LEAST_SPARE, held // 4):
            return None
        return (
            f"The disk refuses results ({self._reason}), {_megabytes(held)} of them are held in memory, and"
            f" {_megabytes(spare)} of it are left"
        )

    def write(self, batch: int, entry: ResultRecord) -> None:
        """Write an entry whose payload is in memory; hold it there if the disk refuses."""
        if self._path is None:
            return
        with self._lock:
            if self._held and self._clock() < self._retry_at:
                self._hold(batch, entry)
            elif self._has_written(batch, entry):
                self._write_held(_AT_ONCE)
            else:
                self._hold(batch, entry)

    def close(self) -> None:
        """Write what is held, now or later: nothing more comes for now. Safe to repeat."""
        with self._lock:
            self._write_held(None)
            self._close_file()
            if self._held:
                _try_later(self)

    def try_again(self) -> bool:
        """Write what is held, while no results come; return whether nothing is left."""
        with self._lock:
            before = len(self._held)
            self._write_held(None)
            self._close_file()
            left = len(self._held)
        if left < before:
            self._changed()
        return not left

    def _write_held(self, room: int | None) -> None:
        """Write what is held, up to `room` bytes of it, the oldest first."""
        while self._held and (room is None or room > 0):
            batch, entry = self._held.popleft()
            self._held_bytes -= entry.length
            if not self._has_written(batch, entry):
                # Behind the others: a smaller one may fit where this one does not.
                self._hold(batch, entry)
                return
            if room is not None:
                room -= entry.length
        if not self._held:
            self._look_at = _MUCH

    def _hold(self, batch: int, entry: ResultRecord) -> None:
        self._held.append((batch, entry))
        self._held_bytes += entry.length

    def _has_written(self, batch: int, entry: ResultRecord) -> bool:
        try:
            try:
                path, offset, crc = self._write(batch, entry)
            except FileNotFoundError:  # the file, or all of its directory, was removed
                self._begin_anew()
                path, offset, crc = self._write(batch, entry)
        except OSError as error:
            self._reason = error.strerror or str(error)
            self._retry_at = self._clock() + self._delay
            self._delay = min(2 * self._delay, _LAST_RETRY)
            return False
        self._delay = _FIRST_RETRY
        # In this order: a concurrent reader of the entry finds the payload or the place.
        entry.crc, entry.path, entry.offset = crc, path, offset
        if self._in_memory + entry.length > _IN_MEMORY:
            entry.payload = None
        else:
            self._in_memory += entry.length
        return True

    def _write(self, batch: int, entry: ResultRecord) -> tuple[str, int, int]:
        payload = entry.payload
        assert payload is not None and self._path is not None
        if self._writer is None:
            self._writer = SegmentWriter(str(self._path), self._key)
            self._opened(self._path)
        return self._writer.path, *self._writer.append(
            batch, entry.first, entry.count, entry.meta, [payload], len(payload)
        )

    def _begin_anew(self) -> None:
        assert self._path is not None
        self._close_file()
        for folder in (self._path.parent.parent, self._path.parent):
            folder.mkdir(mode=0o700, exist_ok=True)

    def _close_file(self) -> None:
        writer, self._writer = self._writer, None
        if writer is None:
            return
        try:
            writer.close()
        except OSError as error:  # a quota on a network's disk may be noticed only now
            self._reason = error.strerror or str(error)


def _megabytes(nbytes: int) -> str:
    return f"{nbytes / 1e6:.1f} MB" if nbytes >= 100_000 else f"{nbytes / 1e3:.1f} kB"


#: Files of ended jobs with something held; gone with their jobs, once these are garbage.
_waiting: weakref.WeakSet[ResultFile] = weakref.WeakSet()
_waiting_lock = threading.Lock()
_is_trying = False


def _try_later(file: ResultFile) -> None:
    """Retry writing what `file` holds until it is written or its job is garbage."""
    global _is_trying
    with _waiting_lock:
        _waiting.add(file)
        if _is_trying:
            return
        _is_trying = True
    threading.Thread(target=_try_all, name="cloudbutton-held", daemon=True).start()


def _try_all(pause: Callable[[float], object] = time.sleep) -> None:
    """Try all waiting files every half minute, as long as there are any."""
    global _is_trying
    while True:
        pause(_LATER)
        with _waiting_lock:
            files = list(_waiting)
        written = [file for file in files if file.try_again()]
        del files  # or the jobs would live until the next round
        with _waiting_lock:
            _waiting.difference_update(written)
            del written
            if not _waiting:
                _is_trying = False
                return


def spare_memory(root: Path = Path("/")) -> int | None:
    """Return the bytes that may still be taken before a process is killed; None if unknown."""
    known = [
        left for left in (_of_machine(root), *_of_groups(root)) if left is not None and left >= 0
    ]
    return min(known, default=None)


def _of_machine(root: Path) -> int | None:
    try:
        for line in (root / "proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    return None


def _of_groups(root: Path) -> list[int | None]:
    """Return what each group has left that this process is in, the innermost first (version 2)."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
        inside = next(line.split(":", 2)[2] for line in lines if line.startswith("0:"))
    except (OSError, StopIteration, IndexError):
        return []
    base = root / "sys/fs/cgroup"
    group = base / inside.lstrip("/")
    return [_of_group(each) for each in (group, *group.parents) if each.is_relative_to(base)]


def _of_group(group: Path) -> int | None:
    try:
        limit = int((group / "memory.max").read_text())  # "max" where there is none
        used = int((group / "memory.current").read_text())
        statistics = (group / "memory.stat").read_text().splitlines()
    except (OSError, ValueError):
        return None
    # What was read from files is dropped before any process is killed.
    files = (line.split()[1] for line in statistics if line.startswith("inactive_file "))
    return max(0, limit - used + int(next(files, "0")))
