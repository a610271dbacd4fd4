"""Jobs whose process was killed before the journal had them."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.faults.scenarios.workers import session_in
from benchmarks.faults.tasks import Ledger, noted, value
from benchmarks.faults.waiting import wait_until
from cloudbutton_backend.errors import UnknownName


def test_results_that_were_announced_are_found_without_the_journal(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with session_in(home) as session:
        job = session.map(value, range(40))
        job.results()
    for path in home.glob("journal.db*"):
        path.unlink()
    with session_in(home) as session:
        found = session.attach(job.id)
        assert found.results() == [value(index) for index in range(40)]


def test_a_job_goes_on_without_the_journal(tmp_path: Path) -> None:
    home, ledger = tmp_path / "home", Ledger(tmp_path / "ledger")
    with session_in(home) as session:
        job = session.map(noted(ledger, 0.02), range(40))
        wait_until(lambda: list(home.glob("jobs/*.job")), "the job's file was written")
        job.cancel()
        job.wait()
        done = job.partial()
    for path in home.glob("journal.db*"):
        path.unlink()
    before = ledger.counts()
    with session_in(home) as session:
        again = session.attach(job.id)
        assert again.results() == [value(index) for index in range(40)]
    after = ledger.counts()
    assert all(after[index] == before[index] for index in done)


def test_a_job_that_left_nothing_is_unknown(tmp_path: Path) -> None:
    with session_in(tmp_path / "home") as session, pytest.raises(UnknownName):
        session.attach("nosuchjob")
