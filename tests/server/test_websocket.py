from __future__ import annotations

import os
import signal
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from cloudbutton_backend.job_model import BatchRecord, JobState
from cloudbutton_backend.journal import ErrorRecord, Journal, LogRecord, gc
from cloudbutton_ext.server import poller
from tests.support.abandoned import abandon_finished_jobs

from .conftest import Ask, Panel, a_job
from .processes import in_another_process

Connect = Callable[..., Panel]


def ids(message: Any) -> list[str]:
    return [job["id"] for job in message["jobs"]]


def batch(number: int, job_id: str = "abcd2345") -> BatchRecord:
    return BatchRecord(job_id, number, "w-0", number, 1, 10.0, 11.0, "done")


def test_the_first_message_comes_at_once_and_holds_the_newest_jobs(
    connect: Connect, journal: Journal, ask: Ask
) -> None:
    journal.add_job(a_job())
    assert journal.flush(10)
    message = connect().next()
    assert (ids(message), message["removed"], message["reset"]) == (["abcd2345"], [], True)
    listed = ask("jobs").body
    assert message["cursor"] == listed["cursor"]
    assert message["jobs"][0].keys() == listed["jobs"][0].keys()


def test_what_changes_is_told_to_all(connect: Connect, journal: Journal) -> None:
    panels = [connect(), connect()]
    assert [panel.next()["jobs"] for panel in panels] == [[], []]
    journal.add_job(a_job())
    assert [ids(panel.next()) for panel in panels] == [["abcd2345"]] * 2
    journal.update_job("abcd2345", done=3)
    assert [panel.next()["jobs"][0]["done"] for panel in panels] == [3, 3]


def test_who_connects_again_is_told_what_was_missed(
    connect: Connect, journal: Journal, home: Path
) -> None:
    now = time.time()
    for job_id in ("aaaa2222", "bbbb2222", "cccc2222"):
        journal.add_job(a_job(job_id, created=now - 100))
        journal.update_job(job_id, state=JobState.DONE, ended=now - 50 if job_id[0] == "a" else now)
    assert journal.flush(10)
    panel = connect()
    cursor = panel.next()["cursor"]
    panel.close()
    journal.update_job("bbbb2222", name="another")
    assert journal.flush(10)
    abandon_finished_jobs(home)
    assert gc(home, max_bytes=10**9, max_age=25.0).jobs == ("aaaa2222",)
    message = connect(cursor=cursor).next()
    assert (ids(message), message["removed"], message["reset"]) == (
        ["bbbb2222"],
        ["aaaa2222"],
        False,
    )


@pytest.mark.parametrize("cursor", ["0123456789abcdef.7", "nonsense"])
def test_a_cursor_of_another_journal_starts_over(
    cursor: str, connect: Connect, journal: Journal
) -> None:
    journal.add_job(a_job())
    assert journal.flush(10)
    message = connect(cursor=cursor).next()
    assert (ids(message), message["reset"]) == (["abcd2345"], True)


def test_a_journal_that_is_started_over_is_told(
    connect: Connect, journal: Journal, home: Path
) -> None:
    journal.add_job(a_job())
    assert journal.flush(10)
    panel = connect()
    panel.next()
    with closing(sqlite3.connect(home / "journal.db")) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    for path in home.glob("journal.db*"):
        path.unlink()
    panel.until(lambda message: message["reset"] and message["jobs"] == [])
    # The process of the job notices with its next heartbeat, and begins a journal that has it.
    assert ids(panel.until(lambda message: message["jobs"])) == ["abcd2345"]


def test_a_killed_process_is_told_soon(connect: Connect, home: Path) -> None:
    process = in_another_process(
        home, "journal.add_job(a_job())\nprint(journal.flush(10), flush=True)\ntime.sleep(60)"
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "True\n"
    panel = connect()
    assert [job["state"] for job in panel.next()["jobs"]] == ["running"]
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    killed = time.monotonic()
    lost = panel.until(lambda message: any(job["state"] == "lost" for job in message["jobs"]))
    assert time.monotonic() - killed < 20  # two seconds; the rest is for busy machines
    assert [(job["id"], job["can_cancel"]) for job in lost["jobs"]] == [("abcd2345", False)]


class TestWatching:
    def test_all_there_is_comes_first_and_then_what_is_new(
        self, connect: Connect, journal: Journal
    ) -> None:
        journal.add_job(a_job())
        journal.add_batch(batch(0))
        journal.add_log(LogRecord("abcd2345", "one\n", item=0))
        journal.add_error(ErrorRecord("abcd2345", 0, "0", "ValueError", "no"))
        assert journal.flush(10)
        panel = connect()
        panel.send({"type": "watch", "job": "abcd2345"})
        first = panel.next("job")
        assert first["batches"]["columns"]["batch"] == [0]
        assert [piece["text"] for piece in first["log"]["pieces"]] == ["one\n"]
        assert (first["id"], first["errors_changed"]) == ("abcd2345", True)
        journal.add_batch(batch(1))
        journal.add_log(LogRecord("abcd2345", "two\n", item=1))
        second = panel.next("job")
        assert second["batches"]["columns"]["batch"] == [1]
        assert second["batches"]["next"] > first["batches"]["next"]
        assert [piece["text"] for piece in second["log"]["pieces"]] == ["two\n"]
        assert second["errors_changed"] is False
        journal.clear_errors("abcd2345")
        assert panel.next("job")["errors_changed"] is True

    def test_what_was_fetched_before_does_not_come_again(
        self, connect: Connect, journal: Journal, ask: Ask
    ) -> None:
        journal.add_job(a_job())
        for i in range(3):
            journal.add_batch(batch(i))
        journal.add_log(LogRecord("abcd2345", "one\n", item=0))
        assert journal.flush(10)
        row = ask("jobs/abcd2345/batches", limit=2).body["next"]
        piece = ask("jobs/abcd2345/log").body["next"]
        panel = connect()
        panel.send({"type": "watch", "job": "abcd2345", "batches_after": row, "log_after": piece})
        message = panel.next("job")
        assert message["batches"]["columns"]["batch"] == [2]
        assert message["log"] == {"pieces": [], "next": piece}

    def test_many_batches_come_in_portions(
        self, connect: Connect, journal: Journal, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(poller, "MOST_BATCHES", 10)
        journal.add_job(a_job())
        for i in range(25):
            journal.add_batch(batch(i))
        assert journal.flush(10)
        panel = connect()
        panel.send({"type": "watch", "job": "abcd2345"})
        portions = [panel.next("job")["batches"]["columns"]["batch"] for _ in range(3)]
        assert [len(portion) for portion in portions] == [10, 10, 5]
        assert [number for portion in portions for number in portion] == list(range(25))

    def test_another_job_and_none_can_be_watched_instead(
        self, connect: Connect, journal: Journal
    ) -> None:
        journal.add_job(a_job())
        journal.add_job(a_job("bbbb2222"))
        assert journal.flush(10)
        panel = connect()
        panel.send({"type": "watch", "job": "abcd2345"})
        assert panel.next("job")["id"] == "abcd2345"
        panel.send({"type": "watch", "job": "bbbb2222"})
        assert panel.next("job")["id"] == "bbbb2222"
        journal.add_batch(batch(0))
        assert ids(panel.next()) == ["abcd2345"]  # and nothing of its batches
        panel.send({"type": "watch", "job": None})
        journal.add_batch(batch(0, "bbbb2222"))
        assert ids(panel.next("jobs")) == ["bbbb2222"]
        journal.update_job("bbbb2222", done=1)
        assert panel.next()["type"] == "jobs"


NONSENSE: dict[str, Any] = {
    "no JSON": "hello",
    "no object": [1],
    "no type": {"job": "abcd2345"},
    "another type": {"type": "cancel", "job": "abcd2345"},
    "no id": {"type": "watch", "job": "../../etc/passwd"},
    "a number for an id": {"type": "watch", "job": 7},
    "a negative row": {"type": "watch", "job": "abcd2345", "batches_after": -1},
    "no row": {"type": "watch", "job": "abcd2345", "log_after": "x"},
    "too long": {"type": "watch", "job": "a" * 2_000},
    "too deep": "[" * 900,
}


@pytest.mark.parametrize("case", NONSENSE)
def test_nonsense_is_answered_and_the_connection_goes_on(
    case: str, connect: Connect, journal: Journal
) -> None:
    panel = connect()
    panel.next()
    panel.send(NONSENSE[case])
    assert panel.next()["type"] == "error"
    journal.add_job(a_job())
    assert ids(panel.next()) == ["abcd2345"]


def test_a_row_that_makes_no_sense_is_shown_with_a_warning_until_it_does_again(
    connect: Connect, journal: Journal, home: Path
) -> None:
    def write(warnings: str) -> None:
        with closing(sqlite3.connect(home / "journal.db")) as connection:
            connection.execute("UPDATE jobs SET warnings = ?, changed = changed + 1", (warnings,))
            connection.commit()

    journal.add_job(a_job())
    assert journal.flush(10)
    write("no JSON")
    panel = connect()
    (job,) = panel.next("jobs")["jobs"]
    assert any("warnings" in line for line in job["warnings"])
    write("[]")
    (job,) = panel.next("jobs")["jobs"]
    assert (job["id"], job["warnings"]) == ("abcd2345", [])


def test_a_damaged_journal_is_told_once_and_its_mending_too(
    connect: Connect, home: Path, tmp_path: Path
) -> None:
    (home / "journal.db").write_bytes(b"not a database at all, whatever it was" * 200)
    panel = connect()
    message = panel.next()
    assert message["type"] == "error"
    assert "journal.db cannot be used" in message["message"]
    assert str(tmp_path) not in message["message"]
    with closing(Journal.open(home)) as journal:
        journal.add_job(a_job())
        told = panel.next()
        if not ids(told):  # it looked before the job was written, into the new journal
            assert told["reset"]
            told = panel.next()
        assert ids(told) == ["abcd2345"]
