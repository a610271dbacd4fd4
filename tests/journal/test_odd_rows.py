"""A row that something else has written, or damage: it is shown as far as it can be, and hides no other."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from cloudbutton_backend.job_model import JobRecord, JobState
from cloudbutton_backend.journal import Journal, JournalReader, queries
from cloudbutton_backend.journal.feed import Feed

MakeJob = Callable[..., JobRecord]
ODD: dict[str, Any] = {
    "state": "flying",
    "options": "{",
    "capture": "[]",
    "warnings": "5",
    "created": "yesterday",
    "pid": "mine",
    "heartbeat": b"\xff",
    "name": b"\xff",
    "n_items": "many",
    "spend": "much",
    "seed": "a seed",
    "host": 5.5,
}


@pytest.mark.parametrize("column", ODD)
def test_it_hides_no_other(column: str, home: Path, journal: Journal, a_job: MakeJob) -> None:
    for job_id in ("good2345", "odd22345"):
        journal.add_job(a_job(job_id))
    assert journal.flush(30.0)
    with closing(sqlite3.connect(home / "journal.db")) as database, database:
        database.execute(f"UPDATE jobs SET {column} = ? WHERE id = 'odd22345'", (ODD[column],))
    reader = JournalReader(home)
    rows = {row.id: row for row in reader.jobs()}
    assert not rows["good2345"].warnings
    with reader.snapshot() as connection:
        assert connection is not None
        assert queries.page(connection, queries.JobQuery(), limit=9).total == 2
    with closing(Feed(home)) as feed:
        assert len(feed.look().jobs) == 2
    if column != "host":  # which SQLite has made text of
        assert any(column in line for line in rows["odd22345"].warnings)
    if column in ("state", "pid", "heartbeat"):
        assert rows["odd22345"].state is JobState.LOST
