"""Every write that a process makes in its home, numbered; the process is killed at one of them.

For a process under test only: the few functions by which the code writes are wrapped in it.
"""

from __future__ import annotations

import builtins
import io
import os
import signal
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

Phase = Literal["before", "in the middle of", "after"]
PHASES: Final[tuple[Phase, ...]] = ("before", "in the middle of", "after")
T = TypeVar("T")

_write, _append = os.write, os.O_WRONLY | os.O_APPEND | os.O_CREAT


class CrashPoints:
    """Numbers the writes, notes each in a file, and kills the process at one.

    Parameters
    ----------
    at
        The number of the write to be killed at; -1 for none.
    log
        A file outside of the home, to which a line is added for each write before it is made.
    """

    def __init__(self, home: Path, at: int, phase: Phase, log: Path) -> None:
        self._home, self._at, self._phase = str(home), at, phase
        self._log = os.open(log, _append, 0o600)
        self._lock = threading.Lock()
        self._count = 0

    def is_ours(self, path: Any) -> bool:
        """Whether a path, or what a descriptor has open, lies in the home."""
        try:
            name = (
                os.readlink(f"/proc/self/fd/{path}") if isinstance(path, int) else os.fspath(path)
            )
        except (OSError, TypeError):
            return False
        return os.fsdecode(name).startswith(self._home)

    def pass_by(self, what: str, act: Callable[[], T], half: Callable[[], Any] | None = None) -> T:
        """Make a write; `half` makes a part of it, where a write can be torn."""
        with self._lock:
            number, self._count = self._count, self._count + 1
            _write(self._log, f"{number} {what}\n".encode())
        if number != self._at:
            return act()
        if self._phase == "in the middle of" and half is not None:
            half()
        elif self._phase != "before":
            act()
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("unreachable")

    def install(self) -> None:
        """Wrap what writes, for the rest of this process."""
        self._wrap_descriptors()
        for name in ("replace", "rename", "link", "unlink", "remove", "utime", "mkdir", "rmdir"):
            self._wrap_path(name)
        self._wrap_open()
        self._wrap_sqlite()

    def _wrap_descriptors(self) -> None:
        write, writev = os.write, os.writev

        def hooked_write(fd: int, data: Any) -> int:
            if not self.is_ours(fd):
                return write(fd, data)
            view = memoryview(data).cast("B")
            half = view[: len(view) // 2]
            return self.pass_by(
                _named("write", fd), lambda: write(fd, data), lambda: write(fd, half)
            )

        def hooked_writev(fd: int, buffers: Any) -> int:
            if not self.is_ours(fd):
                return writev(fd, buffers)
            whole = b"".join(bytes(each) for each in buffers)
            half = whole[: len(whole) // 2]
            act = lambda: writev(fd, buffers)  # noqa: E731
            return self.pass_by(_named("write", fd), act, lambda: write(fd, half))

        os.write, os.writev = _Hook(hooked_write), _Hook(hooked_writev)
        for name in ("fsync", "ftruncate"):
            self._wrap_path(name)

    def _wrap_path(self, name: str) -> None:
        real = getattr(os, name)

        def hooked(path: Any, *arguments: Any, **named: Any) -> Any:
            if not self.is_ours(path):
                return real(path, *arguments, **named)
            return self.pass_by(_named(name, path), lambda: real(path, *arguments, **named))

        setattr(os, name, _Hook(hooked))

    def _wrap_open(self) -> None:
        real, points = builtins.open, self

        class File(io.FileIO):
            def write(self, data: Any) -> int:
                view = memoryview(data).cast("B")
                write, half = super().write, view[: len(view) // 2]
                what = _named("write", self.fileno())
                return points.pass_by(what, lambda: write(data), lambda: write(half)) or 0

        def hooked(
            file: Any, mode: str = "r", buffering: int = -1, *rest: Any, **named: Any
        ) -> Any:
            is_written = "b" in mode and "+" not in mode and "r" not in mode
            if not is_written or not self.is_ours(file):
                return real(file, mode, buffering, *rest, **named)
            raw = File(file, mode.replace("b", ""), opener=named.get("opener"))
            return raw if buffering == 0 else io.BufferedWriter(raw)

        builtins.open = _Hook(hooked)

    def _wrap_sqlite(self) -> None:
        connect, points = sqlite3.connect, self

        class Connection(sqlite3.Connection):
            def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
                verb = sql.split(None, 1)[0].upper()
                changes = verb in ("INSERT", "UPDATE", "DELETE", "CREATE", "ALTER", "REPLACE")
                execute = super().execute
                if verb == "COMMIT" or (changes and not self.in_transaction):
                    return points.pass_by(f"{verb} database", lambda: execute(sql, *parameters))
                return execute(sql, *parameters)

        def hooked(database: Any, *arguments: Any, **named: Any) -> sqlite3.Connection:
            if points.is_ours(str(database).removeprefix("file://")):
                named.setdefault("factory", Connection)
            return connect(database, *arguments, **named)

        sqlite3.connect = _Hook(hooked)


class _Hook:
    """Stands in for a library's function, and is no function: those that replace one travel to workers."""

    def __init__(self, act: Callable[..., Any]) -> None:
        self._act = act

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return self._act(*arguments, **named)


def _named(what: str, path: Any) -> str:
    """Return what is done to which kind of file."""
    name = os.readlink(f"/proc/self/fd/{path}") if isinstance(path, int) else os.fspath(path)
    place = Path(os.fsdecode(name))
    return f"{what} {place.parent.name}/*{place.suffix}"
