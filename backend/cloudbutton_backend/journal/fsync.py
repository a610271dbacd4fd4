"""Timed fsync: what was appended to a file survives the machine's death within a second."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

INTERVAL = 1.0


class DirtyFiles:
    """The files that have to be synced, and when: each at most once per `INTERVAL`."""

    def __init__(self) -> None:
        self._due: dict[Path, float] = {}
        self._last: dict[Path, float] = {}

    def mark(self, path: Path, now: float) -> None:
        """Note that `path` has been written to."""
        last = self._last.get(path)
        # The first time waits, too: a job that ends sooner needs one sync instead of two.
        self._due.setdefault(path, (now if last is None else last) + INTERVAL)

    def pop_due(self, now: float, *, everything: bool = False) -> list[Path]:
        """Return the files to sync now; from here on they count as synced."""
        taken = [path for path, due in self._due.items() if everything or due <= now]
        for path in taken:
            del self._due[path]
        self._last = {p: last for p, last in self._last.items() if now - last < INTERVAL}
        self._last.update(dict.fromkeys(taken, now))
        return taken

    def wait(self, now: float) -> float | None:
        """Return the seconds until a file is due; None while there is none."""
        return max(0.0, min(self._due.values()) - now) if self._due else None


class FileSync:
    """A thread that syncs files, apart from the journal's: a slow disk must not delay a Cancel."""

    def __init__(self, on_error: Callable[[str], None]) -> None:
        self._on_error = on_error
        self._dirty = DirtyFiles()
        self._idle = True
        self._everything = False
        self._closing = False
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def mark(self, path: Path) -> None:
        """Schedule a sync of `path` within about a second."""
        with self._changed:
            self._dirty.mark(path, time.monotonic())
            self._changed.notify_all()
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="cloudbutton-sync", daemon=True
                )
                self._thread.start()

    def hasten(self) -> None:
        """Start syncing all dirty files now; return at once."""
        with self._changed:
            self._everything = True
            self._changed.notify_all()

    def flush(self, timeout: float | None) -> bool:
        """Sync all dirty files and wait for it; False when `timeout` was too short."""
        with self._changed:
            self.hasten()
            return self._changed.wait_for(self._is_clean, timeout)

    def close(self, timeout: float | None) -> bool:
        """Sync what is dirty and end the thread."""
        done = self.flush(timeout)
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        return done

    def _is_clean(self) -> bool:
        return self._idle and self._dirty.wait(0.0) is None

    def _run(self) -> None:
        while True:
            with self._changed:
                self._idle = True
                self._changed.notify_all()
                self._changed.wait_for(self._has_work, self._dirty.wait(time.monotonic()))
                if self._closing:
                    return
                paths = self._dirty.pop_due(time.monotonic(), everything=self._everything)
                self._everything = False
                self._idle = False
            for path in paths:
                self._sync(path)

    def _has_work(self) -> bool:
        return self._closing or self._everything or self._dirty.wait(time.monotonic()) == 0.0

    def _sync(self, path: Path) -> None:
        try:
            fsync(path)
        except FileNotFoundError:
            pass  # its job has been removed
        except OSError as error:
            self._on_error(f"{path} could not be made safe on disk: {error}")


def fsync(path: Path) -> None:
    """Put what was written to `path` on the disk.

    Opened again, because another process may be writing it. (Never do this to journal.db:
    closing any descriptor of a file drops the process's POSIX locks on it, SQLite's included.)
    """
    descriptor = os.open(path, os.O_RDWR | getattr(os, "O_BINARY", 0))
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
