"""SQLite files: opened the same way everywhere, changed in transactions, brought to one version."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, Literal

BUSY_SECONDS: Final = 5.0
"""To wait for another process's transaction; ours take a few milliseconds."""


def connect(path: Path, mode: Literal["mode=rwc", "mode=rw", "immutable=1"]) -> sqlite3.Connection:
    """Open a file for any thread; statements take effect at once, but within a `transaction`."""
    return sqlite3.connect(
        f"{path.as_uri()}?{mode}",
        uri=True,
        timeout=BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,
    )


@contextmanager
def transaction(
    connection: sqlite3.Connection, kind: Literal["IMMEDIATE", "DEFERRED"] = "IMMEDIATE"
) -> Iterator[sqlite3.Connection]:
    """Commit what is done within, or none of it. A deferred one that only reads sees one moment."""
    connection.execute(f"BEGIN {kind}")
    try:
        yield connection
    except BaseException:
        with suppress(sqlite3.Error):  # what went wrong before matters, and may have ended it
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def version_of(connection: sqlite3.Connection) -> int:
    """Return the version of the tables; 0 where there are none yet."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def bring_to(
    connection: sqlite3.Connection, version: int, steps: Callable[[int], Sequence[str]]
) -> None:
    """Bring a file to `version` with the statements that `steps` returns, given the version found."""
    if version_of(connection) == version:
        return
    with transaction(connection):  # of two processes that find it so, one does the work
        found = version_of(connection)
        for statement in steps(found) if found != version else ():
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {version:d}")


def marks(values: Sequence[Any]) -> str:
    """Return a place for each of `values` in a statement."""
    return ", ".join("?" * len(values))
