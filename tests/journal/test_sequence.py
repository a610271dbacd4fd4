from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from cloudbutton_backend.job_model import BatchRecord, JobRecord, JobState
from cloudbutton_backend.journal import ErrorRecord, JournalReader, LogRecord, gc, sequence
from cloudbutton_backend.journal.records import ClearErrors, ProgressUpdate
from cloudbutton_backend.journal.tables import JournalTables
from cloudbutton_backend.journal.write_batch import Entry
from tests.support.abandoned import abandon_finished_jobs

MakeJob = Callable[..., JobRecord]
NOON = 1_700_000_000.0
FIRST, OTHER = "aaaa2222", "bbbb2222"

ERROR = ErrorRecord(FIRST, 3, "3", "ValueError", "no")

NEWS: dict[str, tuple[Entry, bool]] = {
    "an update": (ProgressUpdate(FIRST, {"done": 1}), False),
    "a batch": (BatchRecord(FIRST, 0, "worker-1", 0, 1, NOON, NOON + 1, "done"), False),
    "a printed line": (LogRecord(FIRST, "hello"), False),
    "an error": (ERROR, True),
    "errors cleared": (ClearErrors(FIRST), True),
}


@pytest.fixture
def store(home: Path, clock: Callable[[], float], a_job: MakeJob) -> Iterator[JournalTables]:
    store = JournalTables(home, clock=clock)
    store.write([a_job(FIRST), a_job(OTHER)])
    yield store
    store.close()


def numbers(home: Path, job_id: str) -> tuple[int, int]:
    job = JournalReader(home).job(job_id)
    return job.changed, job.errors_changed


@pytest.mark.parametrize("news", NEWS)
def test_what_is_new_of_a_job_raises_its_number_above_all_others(
    news: str, store: JournalTables, home: Path
) -> None:
    entry, is_error = NEWS[news]
    before, errors_before = numbers(home, OTHER)
    store.write([entry])
    changed, errors_changed = numbers(home, FIRST)
    assert changed == before + 1
    assert errors_changed == (changed if is_error else errors_before)
    assert numbers(home, OTHER) == (before, errors_before)


def test_a_heartbeat_is_no_news(store: JournalTables, home: Path) -> None:
    before = numbers(home, FIRST)
    store.beat()
    assert numbers(home, FIRST) == before


def test_a_journal_started_over_has_another_epoch_and_numbers_for_what_lives(
    store: JournalTables, home: Path
) -> None:
    before = epoch(home)
    for path in home.glob("journal.db*"):
        path.unlink()
    store.beat()
    assert epoch(home) != before
    assert numbers(home, FIRST) > (0, 0)


def test_two_writers_never_use_a_number_twice(
    store: JournalTables, home: Path, a_job: MakeJob
) -> None:
    with closing(JournalTables(home)) as second:
        second.write([a_job("cccc2222")])
        store.write([ProgressUpdate(FIRST, {"done": 1})])
        second.write([ProgressUpdate("cccc2222", {"done": 1})])
    assert numbers(home, FIRST)[0] + 1 == numbers(home, "cccc2222")[0]


def test_a_removed_job_is_remembered_by_number(store: JournalTables, home: Path) -> None:
    store.write([ProgressUpdate(FIRST, {"state": JobState.DONE})])
    before = numbers(home, FIRST)[0]
    abandon_finished_jobs(home)
    assert gc(home, max_bytes=0, max_age=1.0, now=NOON + 10).jobs == (FIRST,)
    with closing(sqlite3.connect(home / "journal.db")) as connection:
        assert connection.execute("SELECT * FROM removed").fetchall() == [(before + 1, FIRST)]


def test_removed_jobs_beyond_the_bound_are_forgotten_and_the_reader_can_tell(
    store: JournalTables, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sequence, "MAX_REMOVED", 2)
    with closing(sqlite3.connect(home / "journal.db", isolation_level=None)) as connection:
        for job_id in "abcd":
            sequence.mark_removed(connection, [job_id])
        kept = connection.execute("SELECT changed, job_id FROM removed").fetchall()
        latest, forgotten = connection.execute("SELECT latest, forgotten FROM changes").fetchone()
    assert kept == [(latest - 1, "c"), (latest, "d")]
    assert forgotten == latest - 2


def epoch(home: Path) -> str:
    with closing(sqlite3.connect(home / "journal.db")) as connection:
        return str(connection.execute("SELECT epoch FROM changes").fetchone()[0])
