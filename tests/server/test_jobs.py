from __future__ import annotations

from cloudbutton_backend.journal import Journal

from .conftest import Ask, a_job


def test_without_a_journal_there_are_no_jobs(ask: Ask) -> None:
    assert ask("jobs") == (200, {"jobs": [], "total": 0, "cursor": None})


def test_a_job_is_listed(ask: Ask, journal: Journal) -> None:
    journal.add_job(a_job())
    assert journal.flush(10)
    status, body = ask("jobs")
    assert status == 200
    assert [job["id"] for job in body["jobs"]] == ["abcd2345"]
