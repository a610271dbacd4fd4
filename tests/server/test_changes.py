from __future__ import annotations

from collections.abc import Callable

from cloudbutton_backend.journal import Journal

from .conftest import Panel, a_job

Connect = Callable[..., Panel]


def test_the_first_message_comes_at_once_and_holds_the_newest_jobs(
    connect: Connect, journal: Journal
) -> None:
    journal.add_job(a_job())
    assert journal.flush(10)
    message = connect().next()
    assert [job["id"] for job in message["jobs"]] == ["abcd2345"]
    assert message["reset"] is True


def test_what_changes_is_told(connect: Connect, journal: Journal) -> None:
    panel = connect()
    assert panel.next()["jobs"] == []
    journal.add_job(a_job())
    message = panel.next()
    assert [job["id"] for job in message["jobs"]] == ["abcd2345"]
    journal.update_job("abcd2345", done=3)
    assert [job["done"] for job in panel.next()["jobs"]] == [3]
