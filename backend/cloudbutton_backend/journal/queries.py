"""Queries over the journal: pages of jobs, batches as columns, sums of money, earlier runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from cloudbutton_backend.job_model import BackendIdentity, Expectation, JobState
from cloudbutton_backend.journal import rows
from cloudbutton_backend.journal.liveness import LivenessCheck
from cloudbutton_backend.journal.records import ErrorRecord, JobRow, LogRecord
from cloudbutton_backend.journal.sequence import Position
from cloudbutton_backend.storage.sqlite import marks

if TYPE_CHECKING:
    import sqlite3

#: States in the table that have to be checked against the process.
_OPEN: Final = ("running", "cancelling")
_MAY_BE_LOST: Final = frozenset({JobState.RUNNING, JobState.CANCELLING, JobState.LOST})

_LATEST_FIRST: Final = " ORDER BY created DESC, id"
#: As `BackendIdentity` is shown.
_SHOWN_BACKEND: Final = "(backend || CASE WHEN emulated THEN ' (emulated)' ELSE '' END)"
_LISTED: Final = ", ".join(rows.LISTED)


@dataclass(frozen=True, kw_only=True)
class JobQuery:
    """The filters of a page of jobs."""

    state: JobState | None = None
    notebooks: tuple[str, ...] | None = None
    """The spellings under which one notebook may be recorded."""
    search: str = ""
    """Text in the name, the id, the backend, the notebook, the code or the error."""
    root: str = ""
    """What a notebook's path begins with that is not to be searched."""


class Page(NamedTuple):
    """Some jobs of many."""

    jobs: list[JobRow]
    total: int
    """How many there are on all pages."""


class Batches(NamedTuple):
    """Batches of a job, by column."""

    columns: dict[str, list[Any]]
    """`row` ascends in the order in which they ended."""
    more: bool


class Spending(NamedTuple):
    """The cost of the jobs that began on one day on one backend."""

    date: str
    """Local, as ISO 8601 writes it."""
    backend: str
    emulated: bool
    """Whether the backend was emulated, so that its jobs cost nothing."""
    jobs: int
    spend: float
    estimate: float

    @property
    def ran_on(self) -> BackendIdentity:
        return BackendIdentity(self.backend, self.emulated)


class NotebookSpending(NamedTuple):
    """The cost of the jobs of one notebook."""

    notebook: str | None
    """None for those of scripts."""
    jobs: int
    spend: float


class JudgedEstimate(NamedTuple):
    """The expected cost and duration of jobs, each with the actual one."""

    money: list[tuple[Expectation, float]]
    """US dollars."""
    seconds: list[tuple[Expectation, float]]


class CallRow(NamedTuple):
    """One call that ended well."""

    worker: str
    items: int
    work: float
    """Seconds that its items took."""
    cost: float
    """US dollars."""


class WorkInterval(NamedTuple):
    """Items that ran one after the other in a worker."""

    items: int
    seconds: float
    cpu: float
    memory_peak: int
    """Bytes; 0 if unknown."""


def page(
    connection: sqlite3.Connection,
    wanted: JobQuery,
    *,
    limit: int,
    offset: int = 0,
    clock: Callable[[], float] = time.time,
) -> Page:
    """Return the jobs that are `wanted`, the latest first, without their longer columns."""
    where, values = _where(wanted)
    query = f"SELECT {_LISTED} FROM jobs{where}{_LATEST_FIRST}"
    liveness = LivenessCheck(clock())
    if wanted.state in _MAY_BE_LOST:  # unfinished ones are few
        found = rows.job_rows(connection.execute(query, values), liveness)
        found = [job for job in found if job.state is wanted.state]
        return Page(found[offset : offset + limit], len(found))
    total = connection.execute(f"SELECT count(*) FROM jobs{where}", values).fetchone()[0]
    # Which ones is answered by an index; only those of the page are read.
    part = connection.execute(
        f"SELECT {_LISTED} FROM jobs WHERE id IN "
        f"(SELECT id FROM jobs{where}{_LATEST_FIRST} LIMIT ? OFFSET ?){_LATEST_FIRST}",
        [*values, limit, offset],
    )
    return Page(rows.job_rows(part, liveness), total)


def cursor(connection: sqlite3.Connection) -> str:
    """Return what a feed is to go on from after what is read now."""
    epoch, latest, _ = connection.execute("SELECT * FROM changes").fetchone()
    return str(Position(epoch, latest))


def job(
    connection: sqlite3.Connection, job_id: str, *, clock: Callable[[], float] = time.time
) -> JobRow | None:
    """Return a job with all its columns, None if there is none."""
    found = connection.execute("SELECT * FROM jobs WHERE id = ?", (job_id,)).fetchall()
    return rows.job_rows(found, LivenessCheck(clock()))[0] if found else None


def batches(connection: sqlite3.Connection, job_id: str, *, after: int, limit: int) -> Batches:
    """Return the next batches of a job, at most `limit`, that ended after the row `after`."""
    names = ("row", *(name for name in rows.BATCH_COLUMNS if name != "job_id"))
    cursor = connection.cursor()
    cursor.row_factory = None  # plain tuples: there may be many
    found = cursor.execute(
        f"SELECT rowid, {', '.join(map(_quoted, names[1:]))} FROM batches "
        "WHERE job_id = ? AND rowid > ? ORDER BY rowid LIMIT ?",
        (job_id, after, limit + 1),
    ).fetchall()
    more = len(found) > limit
    columns = [list(column) for column in zip(*found[:limit])] or [[] for _ in names]
    return Batches(dict(zip(names, columns)), more)


def errors(connection: sqlite3.Connection, job_id: str) -> list[ErrorRecord]:
    """Return a job's exceptions (the first hundred that happened), by item."""
    found = connection.execute(
        "SELECT * FROM errors WHERE job_id = ? ORDER BY item_index", (job_id,)
    )
    return [rows.error_row(row) for row in found]


def errors_changed(connection: sqlite3.Connection, job_id: str) -> int:
    """Return the number of the latest change of a job's exceptions, 0 if there is no such job."""
    found = connection.execute("SELECT errors_changed FROM jobs WHERE id = ?", (job_id,)).fetchone()
    return int(found[0]) if found else 0


def log(connection: sqlite3.Connection, job_id: str, *, after: int) -> list[tuple[int, LogRecord]]:
    """Return what a job printed after the piece `after`, as far as it is kept, with its numbers."""
    found = connection.execute(
        "SELECT * FROM logs WHERE job_id = ? AND id > ? ORDER BY id", (job_id, after)
    )
    return [(row["id"], rows.log_row(row)) for row in found]


def spending(connection: sqlite3.Connection, since: float) -> list[Spending]:
    """Return what was spent by day and backend, the latest day first."""
    found = connection.execute(
        "SELECT date(created, 'unixepoch', 'localtime') AS date, backend, emulated, count(*) AS jobs, "
        "sum(spend) AS spend, total(estimate) AS estimate FROM jobs WHERE created >= ? "
        "GROUP BY date, backend, emulated ORDER BY date DESC, backend, emulated",
        (since,),
    )
    return [Spending(**(dict(row) | {"emulated": bool(row["emulated"])})) for row in found]


def spending_by_notebook(
    connection: sqlite3.Connection, since: float, *, limit: int
) -> list[NotebookSpending]:
    """Return what was spent by notebook, the most first, without emulated jobs, which cost nothing."""
    found = connection.execute(
        "SELECT notebook, count(*), sum(spend) AS spent FROM jobs WHERE created >= ? AND spend > 0 "
        "AND NOT emulated GROUP BY notebook ORDER BY spent DESC LIMIT ?",
        (since, limit),
    )
    return [NotebookSpending(*row) for row in found]


def judged(connection: sqlite3.Connection, since: float, *, limit: int = 1_000) -> JudgedEstimate:
    """Return estimates since then with what came: of the latest jobs that were done without interruption.

    A job that was tried again or attached to has cost and taken more than what was estimated.
    """
    found = connection.execute(
        "SELECT estimate, estimate_low, estimate_high, spend, estimate_seconds, "
        "estimate_seconds_low, estimate_seconds_high, ended - ifnull(started, created) AS seconds "
        "FROM jobs WHERE state = 'done' AND created >= ? AND ended IS NOT NULL "
        "AND id NOT IN (SELECT job_id FROM commands WHERE verb IN ('attach', 'retry')) "
        "ORDER BY created DESC LIMIT ?",
        (since, limit),
    )
    values = [tuple(row) for row in found]
    return JudgedEstimate(
        _foretold(row[:4] for row in values), _foretold(row[4:] for row in values)
    )


def _foretold(found: Iterable[Sequence[float | None]]) -> list[tuple[Expectation, float]]:
    return [
        (Expectation(expected, low, high), came)
        for expected, low, high, came in found
        if expected is not None and low is not None and high is not None and came is not None
    ]


def earlier_spends(
    connection: sqlite3.Connection,
    *,
    backend: str,
    notebooks: Sequence[str],
    cell_id: str,
    limit: int = 200,
) -> dict[str, list[float]]:
    """Return what a cell's latest jobs cost that were done, by name: a cell may have several loops.

    Only runs of the text that it had last count.
    """
    found = connection.execute(
        f"SELECT name, spend, source FROM jobs WHERE notebook IN ({marks(notebooks)}) "
        "AND cell_id = ? AND backend = ? AND NOT emulated AND state = 'done' ORDER BY created DESC LIMIT ?",
        (*notebooks, cell_id, backend, limit),
    ).fetchall()
    spends: dict[str, list[float]] = {}
    for row in found:
        if row["source"] == found[0]["source"]:
            spends.setdefault(row["name"], []).append(row["spend"])
    return spends


def done_jobs(connection: sqlite3.Connection, digest: str, limit: int) -> list[sqlite3.Row]:
    """Return the latest jobs of the code with this digest that ended well, on any backend."""
    return connection.execute(
        "SELECT id, backend, emulated, on_this_machine, done, cached, spend, created, ended, workers, "
        "worker_memory, task_seconds FROM jobs WHERE code_digest = ? AND state = 'done' "
        "ORDER BY created DESC LIMIT ?",
        (digest, limit),
    ).fetchall()


def billed_jobs(
    connection: sqlite3.Connection, backend: BackendIdentity, limit: int
) -> list[sqlite3.Row]:
    """Return the latest jobs of any code that ended well on a backend, and cost something."""
    return connection.execute(
        "SELECT id, worker_memory, ended FROM jobs WHERE backend = ? AND emulated = ? "
        "AND state = 'done' AND spend > 0 ORDER BY created DESC LIMIT ?",
        (*backend, limit),
    ).fetchall()


def calls(connection: sqlite3.Connection, job_id: str, limit: int) -> list[CallRow]:
    """Return the first calls of a job that ended well, in the order in which they were recorded."""
    found = connection.execute(
        'SELECT worker, sum(count), sum("end" - start), sum(cost) FROM batches WHERE job_id = ? '
        "AND status = 'done' GROUP BY batch, attempt ORDER BY min(rowid) LIMIT ?",
        (job_id, limit),
    )
    return [CallRow(*row) for row in found]


def work_intervals(connection: sqlite3.Connection, job_id: str, limit: int) -> list[WorkInterval]:
    """Return what was measured of the first batches of a job."""
    found = connection.execute(
        'SELECT count, max(0.0, "end" - start), cpu, memory_peak FROM batches '
        "WHERE job_id = ? AND status = 'done' AND count > 0 ORDER BY rowid LIMIT ?",
        (job_id, limit),
    )
    return [WorkInterval(*row) for row in found]


def _where(wanted: JobQuery) -> tuple[str, list[Any]]:
    conditions: list[str] = []
    values: list[Any] = []
    if wanted.state in _MAY_BE_LOST:
        conditions.append(f"state IN ({marks(_OPEN)})")
        values += _OPEN
    elif wanted.state is not None:
        conditions.append("state = ?")
        values.append(wanted.state.value)
    if wanted.notebooks is not None:
        conditions.append(f"notebook IN ({marks(wanted.notebooks)})")
        values += wanted.notebooks
    if wanted.search:
        searched = ("name", "id", _SHOWN_BACKEND, "source", "error", "replace(notebook, ?, '')")
        conditions.append(
            "(" + " OR ".join(f"{column} LIKE ? ESCAPE '\\'" for column in searched) + ")"
        )
        pattern = f"%{_literally(wanted.search)}%"
        values += [pattern] * (len(searched) - 1) + [wanted.root, pattern]
    return (f" WHERE {' AND '.join(conditions)}" if conditions else ""), values


def _literally(text: str) -> str:
    for special in "\\%_":
        text = text.replace(special, "\\" + special)
    return text


def _quoted(name: str) -> str:
    return f'"{name}"'
