"""Copies what can still be read of a damaged journal into the new one in its place."""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from cloudbutton_backend.job_model import JobState
from cloudbutton_backend.journal import schema
from cloudbutton_backend.journal.sequence import mark_changed
from cloudbutton_backend.storage.sqlite import transaction

Row = dict[str, Any]

#: SQLite keeps these beside a database; they belong to it and move with it.
SUFFIXES: Final = ("", "-wal", "-shm")

#: In this order, as what belongs to a job is of no use without it. Commands are void by now.
_TABLES: Final = ("jobs", "batches", "errors", "logs", "allowances")
_KEYS: Final = {"jobs": "id", "errors": "job_id, item_index", "allowances": "job_id"}
_JSON: Final = {"options": dict, "capture": dict, "warnings": list}


def salvage(kept: Path, connection: sqlite3.Connection) -> int:
    """Copy what can be read of the journal at `kept` and make sense of; return how many jobs that is.

    The damaged journal stays as it is: a copy is read, as opening it would write to it. What the new
    journal has already, from a process that was faster, counts.
    """
    folder = Path(tempfile.mkdtemp(prefix=".salvage-", dir=kept.parent))
    try:
        copy = folder / kept.name
        for suffix in SUFFIXES:
            with contextlib.suppress(FileNotFoundError):
                shutil.copyfile(f"{kept}{suffix}", f"{copy}{suffix}")
        with closing(sqlite3.connect(copy, timeout=1.0, isolation_level=None)) as damaged:
            damaged.row_factory = sqlite3.Row
            damaged.text_factory = lambda data: data.decode("utf-8", "replace")
            return _copy(damaged, connection)
    except (OSError, sqlite3.OperationalError):
        return 0  # no room for it, or nothing that could be opened
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _copy(damaged: sqlite3.Connection, connection: sqlite3.Connection) -> int:
    with transaction(connection):
        jobs: set[str] = set()
        for table in _TABLES:
            described = connection.execute(f"PRAGMA table_info({table})").fetchall()
            kinds = {column["name"]: column for column in described}
            for row in _readable(damaged, table):
                if table not in {"jobs", "allowances"} and row["job_id"] not in jobs:
                    continue
                known = {name: value for name, value in row.items() if name in kinds}
                if not _makes_sense(table, known, kinds):
                    continue
                _insert(connection, table, known)
                if table == "jobs":
                    jobs.add(known["id"])
        for statement in schema.FROM_NAMES:  # rows of an older version
            connection.execute(statement)
        mark_changed(connection, jobs, errors=jobs)
    return len(jobs)


def _readable(damaged: sqlite3.Connection, table: str) -> Iterator[Row]:
    """Yield the rows before the first damage and, from the other end, those behind the last."""
    key = _KEYS.get(table, "rowid")
    seen = set()
    for order in (key, ", ".join(f"{part} DESC" for part in key.split(", "))):
        try:
            for row in damaged.execute(f"SELECT {key}, * FROM {table} ORDER BY {order}"):
                own = tuple(row)[: key.count(",") + 1]
                if own not in seen:
                    seen.add(own)
                    yield dict(row)
        except sqlite3.DatabaseError:
            continue  # here the damage begins, or the table is gone
        return


def _makes_sense(table: str, row: Row, kinds: dict[str, Any]) -> bool:
    """Whether readers can do with a row: damaged pages may hold anything."""
    for name, column in kinds.items():
        value = row.get(name)
        if value is None:
            # A column of a later version has its default.
            if column["notnull"] and column["dflt_value"] is None:
                return False
        elif column["type"] == "TEXT":
            if not isinstance(value, str):
                return False
        elif not isinstance(value, (int, float)):
            return False
    if table != "jobs":
        return True
    try:
        JobState(row.get("state", ""))
        int(row.get("seed", "0"))
        return all(
            isinstance(json.loads(row[name]), kind) for name, kind in _JSON.items() if name in row
        )
    except ValueError:
        return False


def _insert(connection: sqlite3.Connection, table: str, row: Row) -> None:
    names = [name for name in row if name != "rowid" and not (table == "logs" and name == "id")]
    columns = ", ".join(f'"{name}"' for name in names)
    marks = ", ".join("?" * len(names))
    connection.execute(
        f"INSERT OR IGNORE INTO {table} ({columns}) VALUES ({marks})",
        [row[name] for name in names],
    )
