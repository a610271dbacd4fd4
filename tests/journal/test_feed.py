from __future__ import annotations

import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from cloudbutton_backend.errors import JournalError
from cloudbutton_backend.job_model import BatchRecord, JobRecord, JobState
from cloudbutton_backend.journal import database, gc, schema, sequence
from cloudbutton_backend.journal import feed as feed_module
from cloudbutton_backend.journal.feed import LOOK_OUT, NEWEST, Feed, News
from cloudbutton_backend.journal.records import ProgressUpdate
from cloudbutton_backend.journal.tables import JournalTables
from tests.support.abandoned import abandon_finished_jobs

from .conftest import NOON, Clock

MakeJob = Callable[..., JobRecord]


class Statements(list[str]):
    """What SQLite was asked to do."""

    def taken(self) -> list[str]:
        taken = list(self)
        self.clear()
        return taken


@pytest.fixture
def statements() -> Statements:
    return Statements()


@pytest.fixture
def feed(home: Path, clock: Clock, statements: Statements) -> Iterator[Feed]:
    with closing(Feed(home, clock=clock, trace=statements.append)) as feed:
        yield feed


@pytest.fixture
def store(home: Path, clock: Clock) -> Iterator[JournalTables]:
    with closing(JournalTables(home, clock=clock)) as store:
        yield store


def ids(news: News) -> list[str]:
    return [job.id for job in news.jobs]


def test_without_a_journal_there_is_no_news(feed: Feed) -> None:
    assert not feed.look()
    assert feed.since(None).is_reset
    assert feed.since(None).jobs == ()


def test_a_journal_that_is_begun_is_no_news_before_it_has_a_job(
    feed: Feed, store: JournalTables, home: Path, a_job: MakeJob
) -> None:
    assert not feed.look()
    database.open_for_writing(home)[0].close()
    assert not feed.look()
    store.write([a_job("aaaa2222")])
    assert ids(feed.look()) == ["aaaa2222"]


def test_the_first_look_tells_the_newest_jobs(
    feed: Feed, store: JournalTables, a_job: MakeJob
) -> None:
    store.write([a_job(f"job{i:05}", created=NOON + i) for i in range(NEWEST + 5)])
    news = feed.look()
    assert news.is_reset
    assert ids(news) == [f"job{i:05}" for i in reversed(range(5, NEWEST + 5))]


def test_what_has_changed_is_told_once(feed: Feed, store: JournalTables, a_job: MakeJob) -> None:
    store.write([a_job("aaaa2222"), a_job("bbbb2222")])
    feed.look()
    store.write([ProgressUpdate("bbbb2222", {"done": 3})])
    news = feed.look()
    assert [(job.id, job.done) for job in news.jobs] == [("bbbb2222", 3)]
    assert not news.is_reset
    assert not feed.look()


def test_while_nobody_writes_a_look_asks_for_the_version_alone(
    feed: Feed, store: JournalTables, a_job: MakeJob, statements: Statements
) -> None:
    store.write([a_job("aaaa2222")])
    feed.look()
    statements.clear()
    for _ in range(100):
        assert not feed.look()
    assert set(statements.taken()) == {"PRAGMA data_version"}


def test_a_heartbeat_is_no_news(feed: Feed, store: JournalTables, a_job: MakeJob) -> None:
    store.write([a_job("aaaa2222")])
    feed.look()
    store.beat()
    assert not feed.look()


def work_of(feed: Feed, action: Callable[[], object]) -> int:
    """Return about how many steps SQLite's machine makes for an action."""
    steps = 0

    def count() -> int:
        nonlocal steps
        steps += 1
        return 0

    feed.ask(lambda connection: connection.set_progress_handler(count, 1))
    action()
    feed.ask(lambda connection: connection.set_progress_handler(None, 0))
    return steps


def test_a_look_costs_the_same_with_5000_jobs_and_50000_batches_as_with_one(
    feed: Feed, store: JournalTables, a_job: MakeJob
) -> None:
    def look() -> int:
        store.write([ProgressUpdate("aaaa2222", {"done": 1})])
        return work_of(feed, feed.look)

    store.write([a_job("aaaa2222", created=NOON - 1)])
    feed.look()
    before = look()
    store.write([a_job(f"job{i:05}") for i in range(5_000)])
    store.write([ProgressUpdate(f"job{i:05}", {"state": JobState.DONE}) for i in range(5_000)])
    store.write([BatchRecord("aaaa2222", i, "w", i, 1, NOON, NOON, "done") for i in range(50_000)])
    feed.look()
    assert look() <= 2 * before


def test_a_removed_job_is_told(
    feed: Feed, store: JournalTables, home: Path, a_job: MakeJob
) -> None:
    store.write([a_job("aaaa2222"), a_job("bbbb2222")])
    store.write([ProgressUpdate("aaaa2222", {"state": JobState.DONE})])
    feed.look()
    abandon_finished_jobs(home)
    gc(home, max_bytes=0, max_age=1.0, now=NOON + 10)
    news = feed.look()
    assert (news.removed, ids(news)) == (("aaaa2222",), [])


def test_who_was_away_is_told_what_was_missed(
    feed: Feed, store: JournalTables, home: Path, a_job: MakeJob
) -> None:
    store.write([a_job("aaaa2222"), a_job("bbbb2222"), a_job("cccc2222")])
    store.write([ProgressUpdate("aaaa2222", {"state": JobState.DONE})])
    cursor = feed.look().cursor
    store.write([ProgressUpdate("bbbb2222", {"done": 3})])
    abandon_finished_jobs(home)
    gc(home, max_bytes=0, max_age=1.0, now=NOON + 10)
    feed.look()
    news = feed.since(cursor)
    assert (ids(news), news.removed, news.is_reset) == (["bbbb2222"], ("aaaa2222",), False)
    assert not feed.since(news.cursor)


@pytest.mark.parametrize(
    "cursor", [None, "", ".", "0123456789abcdef.1", "x", "x.-1", "…", "9" * 90, "a.²"]
)
def test_a_cursor_that_is_not_of_this_journal_starts_over(
    cursor: str | None, feed: Feed, store: JournalTables, a_job: MakeJob
) -> None:
    store.write([a_job("aaaa2222")])
    feed.look()
    news = feed.since(cursor)
    assert (news.is_reset, ids(news)) == (True, ["aaaa2222"])


def test_a_cursor_ahead_of_the_journal_starts_over(
    feed: Feed, store: JournalTables, a_job: MakeJob
) -> None:
    store.write([a_job("aaaa2222")])
    epoch = feed.look().cursor.partition(".")[0]
    assert feed.since(f"{epoch}.99").is_reset


def test_who_has_missed_too_much_starts_over(
    feed: Feed, store: JournalTables, a_job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed_module, "MOST", 2)
    store.write([a_job("aaaa2222"), a_job("bbbb2222"), a_job("cccc2222")])
    cursor = feed.look().cursor
    store.write([ProgressUpdate(job_id, {"done": 1}) for job_id in ("aaaa2222", "bbbb2222")])
    feed.look()
    assert not feed.since(cursor).is_reset
    store.write([ProgressUpdate("cccc2222", {"done": 1})])
    feed.look()
    assert feed.since(cursor).is_reset


def test_who_has_missed_removals_that_are_forgotten_starts_over(
    feed: Feed, store: JournalTables, home: Path, a_job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sequence, "MAX_REMOVED", 1)
    store.write([a_job("aaaa2222")])
    cursor = feed.look().cursor
    with closing(sqlite3.connect(home / "journal.db", isolation_level=None)) as connection:
        for job_id in ("xxxx2222", "yyyy2222"):
            sequence.mark_removed(connection, [job_id])
    assert feed.look().is_reset
    assert feed.since(cursor).is_reset


def test_a_journal_that_was_started_over_is_noticed(
    feed: Feed, store: JournalTables, home: Path, a_job: MakeJob
) -> None:
    store.write([a_job("aaaa2222"), a_job("bbbb2222")])
    store.write([ProgressUpdate("aaaa2222", {"state": JobState.DONE})])
    cursor = feed.look().cursor
    for path in home.glob("journal.db*"):
        path.unlink()
    gone = feed.look()
    assert (gone.is_reset, ids(gone)) == (True, [])
    store.beat()
    anew = feed.look()
    assert (anew.is_reset, ids(anew)) == (True, ["bbbb2222"])
    assert feed.since(cursor).is_reset


def test_a_job_whose_process_is_killed_is_told_to_be_lost_though_nobody_writes_it(
    feed: Feed, clock: Clock, start_python: Callable[[str], subprocess.Popen[str]],
    statements: Statements,
) -> None:  # fmt: skip
    child = start_python(
        "journal = Journal.open(home)\n"
        "journal.add_job(a_job('aaaa2222'))\n"
        "say(journal.flush(10))\n"
        "sys.stdin.read()\n"
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "True\n"
    assert [job.state for job in feed.look().jobs] == [JobState.RUNNING]
    cursor = feed.cursor
    child.kill()
    child.wait()
    clock.now += LOOK_OUT
    feed.look()  # the last of what the child wrote, if it had begun a heartbeat
    clock.now += LOOK_OUT
    feed.look()
    missed = feed.since(cursor)
    assert [(job.id, job.state) for job in missed.jobs] == [("aaaa2222", JobState.LOST)]
    statements.clear()
    clock.now += LOOK_OUT
    assert not feed.look()
    assert statements.taken() == ["PRAGMA data_version"]


def test_a_job_of_another_machine_is_lost_with_its_heartbeat_and_comes_back_with_it(
    feed: Feed, store: JournalTables, clock: Clock, a_job: MakeJob
) -> None:
    store.write([a_job("aaaa2222", host="elsewhere")])
    assert [job.state for job in feed.look().jobs] == [JobState.RUNNING]
    clock.now += 11
    assert [job.state for job in feed.look().jobs] == [JobState.LOST]
    assert not feed.look()
    store.beat()
    clock.now += LOOK_OUT
    assert [job.state for job in feed.look().jobs] == [JobState.RUNNING]


def test_a_beating_heart_far_away_is_no_news(
    feed: Feed, store: JournalTables, clock: Clock, a_job: MakeJob
) -> None:
    store.write([a_job("aaaa2222", host="elsewhere")])
    feed.look()
    for _ in range(10):
        clock.now += 6
        store.beat()
        assert not feed.look()


def test_a_damaged_journal_is_an_error_each_time_and_news_when_it_is_repaired(
    home: Path, store: JournalTables, clock: Clock, a_job: MakeJob
) -> None:
    (home / "journal.db").write_bytes(b"not a database at all, whatever it was" * 200)
    with closing(Feed(home, clock=clock)) as feed:
        for _ in range(2):
            with pytest.raises(JournalError, match="not a database"):
                feed.look()
        store.write([a_job("aaaa2222")])
        assert ids(feed.look()) == ["aaaa2222"]


def test_a_journal_of_an_older_version_is_brought_up_to_date(home: Path, clock: Clock) -> None:
    with closing(sqlite3.connect(home / "journal.db")) as connection:
        first_version = schema.TABLES[0].partition(",\n        estimate REAL")[0]
        connection.execute(f"{first_version}) WITHOUT ROWID")
        connection.execute("CREATE INDEX jobs_by_age ON jobs (created)")
        connection.execute("PRAGMA user_version = 1")
    with closing(Feed(home, clock=clock)) as feed:
        feed.look()
        assert feed.ask(lambda connection: connection) is not None
