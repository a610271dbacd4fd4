"""The index of results by key: cache.db, beside the journal. Written by one thread, off the hot path.

The results stay in the result files of the jobs that made them. What is gone or damaged there is not
found any more, and forgotten.
"""

from __future__ import annotations

import json
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cloudbutton_backend.storage import sqlite

NAME: Final = "cache.db"
VERSION: Final = 1
_TABLES: Final = (
    """CREATE TABLE records (
        id INTEGER PRIMARY KEY,
        file TEXT NOT NULL,
        offset INTEGER NOT NULL,
        length INTEGER NOT NULL,
        hash BLOB NOT NULL,
        classes TEXT NOT NULL,
        created REAL NOT NULL,
        UNIQUE (file, offset)
    )""",
    """CREATE TABLE entries (
        key BLOB PRIMARY KEY,
        record INTEGER NOT NULL REFERENCES records ON DELETE CASCADE,
        position INTEGER NOT NULL
    ) WITHOUT ROWID""",
    "CREATE INDEX entries_by_record ON entries (record)",
)
_GATHER: Final = 0.1
"""Seconds for which entries are gathered into one transaction."""
_PATIENCE: Final = 10.0
"""Seconds that a lookup waits for what this kernel has not written yet."""
_AT_ONCE: Final = 500
"""Keys in one query."""


@dataclass(frozen=True, slots=True)
class ResultLocation:
    """A record of a result file."""

    file: str
    """Its name in the directory of results."""
    offset: int
    """Of the payload."""
    length: int
    hash: bytes
    """xxh3-128 of the payload."""
    classes: Mapping[str, str]
    """The notebook's classes in it: cloudpickle's id of each, and the digest of its content."""


@dataclass(frozen=True, slots=True)
class CacheEntry:
    """The entry of one record."""

    place: ResultLocation
    entries: Sequence[tuple[bytes, int]]
    """Keys, and the position of the item in the record."""


@dataclass(frozen=True, slots=True)
class CacheHit:
    """The location of a key's result."""

    record: int
    place: ResultLocation
    position: int


_Waiting = Callable[[], CacheEntry | None] | threading.Event | None
"""What makes an entry; an event to set; or the end."""


class CacheIndex:
    """The keys of all results that may be found again, for one process.

    Parameters
    ----------
    home
        The directory in which cache.db is, or will be.
    """

    def __init__(self, home: Path) -> None:
        self.path = home / NAME
        self.trouble = ""
        """A line for the user when it cannot be used: nothing is found or kept then."""
        self._lock = threading.Lock()
        self._waiting: queue.SimpleQueue[_Waiting] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def __repr__(self) -> str:
        return f"<Index {self.path}{': ' + self.trouble if self.trouble else ''}>"

    # -- looking

    def find(self, keys: Sequence[bytes]) -> dict[bytes, CacheHit]:
        """Return where the results of those of `keys` are that have one."""
        self.flush(_PATIENCE)
        if not self.path.exists() or not keys:
            return {}
        found: dict[bytes, CacheHit] = {}
        places: dict[int, ResultLocation] = {}
        with (
            self._noting_trouble(),
            closing(_connect(self.path)) as connection,
            sqlite.transaction(connection, "DEFERRED"),
        ):
            for start in range(0, len(keys), _AT_ONCE):
                some = keys[start : start + _AT_ONCE]
                query = (
                    f"SELECT key, record, position FROM entries WHERE key IN ({sqlite.marks(some)})"
                )
                for key, record, position in connection.execute(query, some).fetchall():
                    if record not in places:
                        places[record] = _place(connection, record)
                    found[key] = CacheHit(record, places[record], position)
        return found

    def remove(self, records: Iterable[int]) -> None:
        """Remove records of which nothing can be had any more."""
        with (
            self._noting_trouble(),
            closing(_connect(self.path)) as connection,
            sqlite.transaction(connection),
        ):
            connection.executemany("DELETE FROM records WHERE id = ?", [(id,) for id in records])

    # -- keeping

    def add(self, prepare: Callable[[], CacheEntry | None]) -> None:
        """Queue the entry that `prepare` returns; it is called on the index's own thread."""
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(
                    target=self._write, name="cloudbutton-cache", daemon=True
                )
                self._thread.start()
        self._waiting.put(prepare)

    def flush(self, patience: float) -> bool:
        """Wait until all that was to be kept by now is written; return whether it is."""
        thread, written = self._thread, threading.Event()
        if thread is None:
            return True
        self._waiting.put(written)
        deadline = time.monotonic() + patience
        while thread.is_alive() and time.monotonic() < deadline:
            if written.wait(min(0.2, patience)):
                return True
        return written.is_set()

    def close(self, patience: float = 2.0) -> None:
        """Write what is left, and end the thread. Safe to repeat, and to go on after."""
        self.flush(patience)
        with self._lock:
            if self._thread is not None:
                self._waiting.put(None)
                self._thread = None

    def _write(self) -> None:
        """Write what comes until told to end (on a thread of its own)."""
        while True:
            given = self._next()
            made = [self._made(each) for each in given if callable(each)]
            self._commit([cache_entry for cache_entry in made if cache_entry is not None])
            for each in given:
                if isinstance(each, threading.Event):
                    each.set()
            if given[-1] is None:
                return

    def _made(self, prepare: Callable[[], CacheEntry | None]) -> CacheEntry | None:
        try:
            return prepare()
        except Exception as error:  # one that cannot be kept must not end the thread
            self.trouble = f"Results could not be kept in {self.path}: {error!r}."
            return None

    def _next(self) -> list[_Waiting]:
        """Return entries to write together: those that come in a moment, or until a caller waits."""
        given = [self._waiting.get()]  # ends: with close(), which puts None; a daemon thread
        until = time.monotonic() + _GATHER
        while callable(given[-1]):
            try:
                given.append(self._waiting.get(timeout=max(0.0, until - time.monotonic())))
            except queue.Empty:
                break
        return given

    def _commit(self, deposits: Sequence[CacheEntry]) -> None:
        if not deposits:
            return
        with (
            self._noting_trouble(),
            closing(_connect(self.path)) as connection,
            sqlite.transaction(connection),
        ):
            for cache_entry in deposits:
                place = cache_entry.place
                row = (place.file, place.offset, place.length, place.hash)
                record = connection.execute(
                    "INSERT OR REPLACE INTO records (file, offset, length, hash, classes, created)"
                    " VALUES (?, ?, ?, ?, ?, ?)",
                    (*row, json.dumps(dict(place.classes)), time.time()),
                ).lastrowid
                connection.executemany(
                    "INSERT OR REPLACE INTO entries VALUES (?, ?, ?)",
                    [(key, record, position) for key, position in cache_entry.entries],
                )

    @contextmanager
    def _noting_trouble(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            self.trouble = (
                f"{self.path} cannot be used ({error}): results of earlier runs are not found, and those"
                " of this one may not be next time. If it stays so, remove the file: a new one is begun."
            )


def remove_missing(home: Path) -> int:
    """Forget all results whose files are gone; return how many records that were.

    A file that cannot be used now, or that another process is busy with, is left for the next time: what is
    gone is no hit anyway.
    """
    path = home / NAME
    if not path.exists():
        return 0
    with suppress(sqlite3.Error, OSError), closing(_connect(path)) as connection:
        files = [file for (file,) in connection.execute("SELECT DISTINCT file FROM records")]
        gone = [(file,) for file in files if not (home / "results" / file).exists()]
        if not gone:
            return 0
        with sqlite.transaction(connection):
            before = connection.total_changes
            connection.executemany("DELETE FROM records WHERE file = ?", gone)
            removed = connection.total_changes - before
        connection.execute("VACUUM")
        return removed
    return 0


def _place(connection: sqlite3.Connection, record: int) -> ResultLocation:
    query = "SELECT file, offset, length, hash, classes FROM records WHERE id = ?"
    file, offset, length, seen, classes = connection.execute(query, (record,)).fetchone()
    return ResultLocation(file, offset, length, seen, json.loads(classes))


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite.connect(path, "mode=rwc")
    try:
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA synchronous = NORMAL")
        path.chmod(0o600)  # the directory is private; a copy of the file should be, too
        sqlite.bring_to(connection, VERSION, _statements)
    except BaseException:
        connection.close()
        raise
    return connection


def _statements(found: int) -> Sequence[str]:
    if found > VERSION:
        raise sqlite3.DatabaseError(f"a newer Cloud Button wrote it (format {found})")
    return _TABLES
