"""Opens journal.db, be it new, current, older, newer, or broken."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from cloudbutton_backend.errors import JournalError
from cloudbutton_backend.journal import schema
from cloudbutton_backend.journal.repair import SUFFIXES, salvage
from cloudbutton_backend.storage import sqlite

NAME = "journal.db"

_PAUSE: Final = 0.01
"""Seconds between two tries to switch to a write-ahead log."""


@dataclass(frozen=True)
class KeptAside:
    """A journal that could not be used, under its new name."""

    path: Path
    what: str
    """What was wrong with it, in words."""


@dataclass(frozen=True)
class JournalCheck:
    """The result of a check of the whole file."""

    jobs: int
    damage: str
    """Nothing if it is sound."""
    kept_aside: tuple[Path, ...]
    """Earlier journals that could not be used, the latest last."""


def check(path: Path) -> JournalCheck | None:
    """Check the whole journal; None while there is none.

    Raises
    ------
    JournalError
        It cannot be opened.
    """
    with existing(path) as connection:
        if connection is None:
            return None
        verdict = str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])
        jobs = connection.execute("SELECT count(*) FROM jobs").fetchone()[0]
    kept = sorted(path.parent.glob(f"{NAME}.*-*[0-9]"))
    return JournalCheck(jobs, "" if verdict == "ok" else verdict, tuple(kept))


def is_corruption(error: BaseException) -> bool:
    """Whether `error` says that the file is broken, not that the disk or a lock is in the way."""
    # Python maps SQLITE_CORRUPT and SQLITE_NOTADB, and nothing else of interest, to the base class.
    return type(error) is sqlite3.DatabaseError


def open_for_writing(
    home: Path,
    *,
    kept: KeptAside | None = None,
    version: int = schema.VERSION,
    migrations: Mapping[int, Sequence[str]] = schema.MIGRATIONS,
) -> tuple[sqlite3.Connection, str | None]:
    """Open the journal under `home`, creating or migrating it.

    Parameters
    ----------
    kept
        A damaged one that was moved aside before; what can be read of it is put into this one.

    Returns
    -------
    connection, notice
        The notice is a line for the user when the journal that was there could not be used: it
        has been kept under another name, and a new one begun.

    Raises
    ------
    JournalError
        The journal was written by a newer Cloud Button.
    sqlite3.OperationalError
        The disk does not allow it.
    """
    path = home / NAME
    before = inode(path)
    try:
        connection = _open_current(path, version, migrations)
    except sqlite3.DatabaseError as error:
        if not is_corruption(error):
            raise
        kept = move_aside(path, "corrupt", f"is damaged ({error})", found=before)
        connection = _open_current(path, version, migrations)
    except _TooOld as error:
        kept = move_aside(path, "old", f"has the unknown version {error.found}", found=before)
        connection = _open_current(path, version, migrations)
        return connection, None if kept is None else _notice(path, kept, 0)
    if kept is None:
        return connection, None
    return connection, _notice(path, kept, salvage(kept.path, connection))


def _notice(path: Path, kept: KeptAside, saved: int) -> str:
    """Return a line for the user about a journal that could not be used."""
    found = f"with {saved} of its jobs" if saved else "without its jobs"
    return f"{path} {kept.what}; it was kept as {kept.path.name} and a new one begun, {found}."


def open_for_reading(path: Path) -> sqlite3.Connection | None:
    """Open a journal so that nothing in it can be changed; None while there is none.

    One of an older version is brought up to date first.

    Raises
    ------
    JournalError
        It is damaged, or of a version that this Cloud Button does not read.
    """
    if not path.exists():
        return None
    with translated(path):
        try:
            connection, found, begun = _open_existing(path, "mode=rw")
            if found in schema.MIGRATIONS:
                connection.close()
                _migrate(path)
                connection, found, begun = _open_existing(path, "mode=rw")
        except sqlite3.OperationalError:
            if os.access(path.parent, os.W_OK):
                raise  # e.g. it is locked: without the writer's log, we would read an old state
            # A read-only directory: no process writes here now, so there is no log to consult.
            connection, found, begun = _open_existing(path, "immutable=1")
    if found == schema.VERSION:
        return connection
    connection.close()
    if found > schema.VERSION:
        raise _newer(path, found)
    if begun:
        raise _older(path, found)
    return None  # between its creation and its first table it is empty


def _migrate(path: Path) -> None:
    """Bring a journal of an older version up to date, if the disk allows it."""
    with suppress(sqlite3.DatabaseError, OSError, _TooOld):
        _open_current(path, schema.VERSION, schema.MIGRATIONS).close()


@contextmanager
def existing(path: Path, *, writable: bool = False) -> Iterator[sqlite3.Connection | None]:
    """Open a journal that is there, and close it; None while there is none.

    Raises
    ------
    JournalError
        As from `open_for_reading`, and for what goes wrong while it is open.
    """
    connection = open_for_reading(path)
    if connection is None:
        yield None
        return
    with closing(connection), translated(path):
        if writable:
            connection.execute("PRAGMA query_only = OFF")
        yield connection


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into ours."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        advice = (
            "The next job keeps it under another name and begins a new one with what can still be "
            "read of it; results already on disk stay where they are."
            if is_corruption(error)
            else "Is the disk full, or the directory read-only?"
        )
        raise JournalError(f"{path} cannot be used: {error}. {advice}") from error


def _open_existing(
    path: Path, mode: Literal["mode=rw", "immutable=1"]
) -> tuple[sqlite3.Connection, int, bool]:
    """Return a connection, the version found, and whether there are tables."""
    connection = _connect(path, mode)
    try:
        connection.execute("PRAGMA query_only = ON")
        # Both as of one moment: a journal that is being created just now has neither or both.
        with sqlite.transaction(connection, "DEFERRED"):
            return connection, sqlite.version_of(connection), _has_tables(connection)
    except BaseException:
        connection.close()
        raise


def move_aside(path: Path, label: str, what: str, *, found: int | None) -> KeptAside | None:
    """Rename the journal with a label and the time; return None if another process already has.

    Two kernels may find the damage together. The first renames and starts over; the second must
    not rename the new one, so it looks whether the file is still the one it found damaged.
    Should it lose even that race, the first sees its file gone and writes its live jobs again.
    """
    if found is None or inode(path) != found:
        return None
    stamp = time.strftime("%Y%m%d-%H%M%S")
    kept = path.with_name(f"{path.name}.{label}-{stamp}")
    for suffix in SUFFIXES:
        try:
            path.with_name(path.name + suffix).rename(kept.with_name(kept.name + suffix))
        except FileNotFoundError:
            pass
    return KeptAside(kept, what)


class _TooOld(Exception):
    """The file has a version from which no migration leads here."""

    def __init__(self, found: int) -> None:
        super().__init__(found)
        self.found = found


def _open_current(
    path: Path, version: int, migrations: Mapping[int, Sequence[str]]
) -> sqlite3.Connection:
    connection = _connect(path, "mode=rwc")
    try:
        path.chmod(0o600)  # the directory is private; a copy of the file should be too
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # counts before the first table
        _use_wal(connection)
        connection.execute("PRAGMA synchronous = NORMAL")
        sqlite.bring_to(
            connection,
            version,
            lambda found: _steps(connection, path, found, version, migrations),
        )
    except BaseException:
        connection.close()
        raise
    return connection


def _use_wal(connection: sqlite3.Connection, pause: Callable[[float], None] = time.sleep) -> None:
    """Switch to a write-ahead log, once and for all who open the file later.

    While another process does the same, SQLite answers "locked" at once instead of waiting as
    it does everywhere else; two kernels that begin the first journal together meet here.
    """
    for _ in range(round(sqlite.BUSY_SECONDS / _PAUSE) - 1):
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error):
                raise
        pause(_PAUSE)
    connection.execute("PRAGMA journal_mode = WAL")


def _steps(
    connection: sqlite3.Connection,
    path: Path,
    found: int,
    version: int,
    migrations: Mapping[int, Sequence[str]],
) -> Sequence[str]:
    """Return the statements that lead from a version to another."""
    if found > version:
        raise _newer(path, found)
    if found == 0 and not _has_tables(connection):
        return schema.TABLES
    if any(step not in migrations for step in range(found, version)):
        raise _TooOld(found)
    return [statement for step in range(found, version) for statement in migrations[step]]


def _connect(path: Path, mode: Literal["mode=rwc", "mode=rw", "immutable=1"]) -> sqlite3.Connection:
    connection = sqlite.connect(path, mode)
    connection.row_factory = sqlite3.Row
    return connection


def _has_tables(connection: sqlite3.Connection) -> bool:
    return connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone() is not None


def inode(path: Path) -> int | None:
    """Return the file's number, None while there is no file."""
    try:
        return path.stat().st_ino
    except OSError:
        return None


def _newer(path: Path, found: int) -> JournalError:
    return JournalError(
        f"{path} was written by a newer Cloud Button (format {found}; this one knows up to "
        f"{schema.VERSION}). Upgrade with `pip install -U cloudbutton`, or set CLOUDBUTTON_HOME "
        f"to another directory."
    )


def _older(path: Path, found: int) -> JournalError:
    return JournalError(
        f"{path} has format {found}, older than this Cloud Button's {schema.VERSION}, and cannot be "
        f"brought up to date: is the directory read-only? Otherwise the next job begins a new one."
    )
