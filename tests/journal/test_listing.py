from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from cloudbutton_backend.job_model import BatchRecord, Expectation, JobRecord, JobState
from cloudbutton_backend.journal import JournalReader, LogRecord, queries
from cloudbutton_backend.journal.queries import JobQuery
from cloudbutton_backend.journal.records import ProgressUpdate
from cloudbutton_backend.journal.tables import JournalTables

from .conftest import NOON, Clock

MakeJob = Callable[..., JobRecord]
ROOT = "/somewhere/notes"
A, B = f"{ROOT}/a.ipynb", f"{ROOT}/sub/b.ipynb"
DAY = 86_400.0


@pytest.fixture
def store(home: Path, clock: Clock, a_job: MakeJob) -> Iterator[JournalTables]:
    """Return a journal of five jobs, the latest one first in the alphabet."""
    with closing(JournalTables(home, clock=clock)) as store:
        store.write(
            [
                a_job("aaaa2222", created=NOON + 5, notebook=A, name="a 100% fit"),
                a_job("bbbb2222", created=NOON + 4, notebook=A, backend="lambda"),
                a_job("cccc2222", created=NOON + 3, notebook=B, source="model.fit(notes)"),
                a_job("dddd2222", created=NOON + 2, notebook=None, host="elsewhere"),
                a_job("eeee2222", created=NOON + 1, notebook=None),
            ]
        )
        store.write(
            [
                ProgressUpdate("bbbb2222", {"state": JobState.DONE}),
                ProgressUpdate(
                    "cccc2222", {"state": JobState.FAILED, "error": "ValueError: nan_ (item 3)"}
                ),
                ProgressUpdate("eeee2222", {"state": JobState.CANCELLING}),
            ]
        )
        yield store


PAGES: dict[str, tuple[JobQuery, str]] = {
    "all": (JobQuery(), "abcde"),
    "running": (JobQuery(state=JobState.RUNNING), "a"),
    "lost": (JobQuery(state=JobState.LOST), "d"),
    "cancelling": (JobQuery(state=JobState.CANCELLING), "e"),
    "done": (JobQuery(state=JobState.DONE), "b"),
    "one notebook": (JobQuery(notebooks=(A, "/elsewhere/a.ipynb")), "ab"),
    "a notebook without jobs": (JobQuery(notebooks=("/elsewhere/a.ipynb",)), ""),
    "notebook and state": (JobQuery(notebooks=(A,), state=JobState.DONE), "b"),
    "a name": (JobQuery(search="FIT"), "ac"),
    "a percent sign is itself": (JobQuery(search="100%"), "a"),
    "an underscore is itself": (JobQuery(search="nan_"), "c"),
    "an id": (JobQuery(search="eeee"), "e"),
    "a backend": (JobQuery(search="lambda"), "b"),
    "a notebook": (JobQuery(search="b.ipynb"), "c"),
    "the directory above all is not searched": (JobQuery(search="notes", root=ROOT), "c"),
    "nothing": (JobQuery(search="x'; DROP TABLE jobs; --"), ""),
}


@pytest.mark.parametrize("case", PAGES)
@pytest.mark.usefixtures("store")
def test_a_page_holds_the_jobs_that_are_wanted_the_latest_first(
    case: str, home: Path, clock: Clock
) -> None:
    wanted, expected = PAGES[case]
    clock.now += 11  # and nothing was heard from elsewhere
    with JournalReader(home).snapshot() as connection:
        assert connection is not None
        found = queries.page(connection, wanted, limit=50, clock=clock)
        first = queries.page(connection, wanted, limit=1, clock=clock)
        rest = queries.page(connection, wanted, limit=50, offset=1, clock=clock)
    assert "".join(job.id[0] for job in found.jobs) == expected
    assert found.total == first.total == rest.total == len(expected)
    assert first.jobs + rest.jobs == found.jobs


def test_the_first_page_costs_the_same_with_5000_jobs_as_with_50(
    home: Path, clock: Clock, a_job: MakeJob
) -> None:
    def steps() -> int:
        count = 0

        def tick() -> int:
            nonlocal count
            count += 1
            return 0

        with JournalReader(home).snapshot() as connection:
            assert connection is not None
            connection.set_progress_handler(tick, 1)
            assert len(queries.page(connection, JobQuery(), limit=50, clock=clock).jobs) == 50
        return count

    with closing(JournalTables(home, clock=clock)) as store:
        store.write([a_job(f"job{i:05}", created=NOON + i) for i in range(50)])
        few = steps()
        store.write([a_job(f"job{i:05}", created=NOON + i) for i in range(50, 5_000)])
        assert steps() <= 1.2 * few


def test_batches_come_by_column_and_page_by_page(store: JournalTables, home: Path) -> None:
    store.write(
        [BatchRecord("aaaa2222", i, f"w-{i % 2}", i, 1, NOON, NOON + i, "done") for i in range(5)]
    )
    store.write([BatchRecord("bbbb2222", 0, "w-0", 0, 1, NOON, NOON, "done")])
    store.write([BatchRecord("aaaa2222", 5, "w-0", 5, 1, NOON, NOON, "error", failed=1)])
    seen: list[int] = []
    after, more = 0, True
    with JournalReader(home).snapshot() as connection:
        assert connection is not None
        while more:
            columns, more = queries.batches(connection, "aaaa2222", after=after, limit=2)
            seen += columns["batch"]
            after = columns["row"][-1]
        assert seen == [0, 1, 2, 3, 4, 5]
        assert columns["status"] == ["done", "error"]
        nothing = queries.batches(connection, "aaaa2222", after=after, limit=2)
    assert nothing == ({name: [] for name in columns}, False)


def test_printed_lines_come_after_the_last_one_seen(store: JournalTables, home: Path) -> None:
    store.write([LogRecord("aaaa2222", "one", item=1), LogRecord("aaaa2222", "two", item=2)])
    with JournalReader(home).snapshot() as connection:
        assert connection is not None
        (first, _), (_, second) = queries.log(connection, "aaaa2222", after=0)
        assert queries.log(connection, "aaaa2222", after=first) == [(first + 1, second)]
    assert second.text == "two"


def test_spending_is_summed_by_local_day_and_backend(
    home: Path, clock: Clock, a_job: MakeJob
) -> None:
    noon = time.mktime((2026, 11, 20, 12, 0, 0, 0, 0, -1))
    with closing(JournalTables(home, clock=clock)) as store:
        store.write(
            [
                a_job("aaaa2222", created=noon, backend="lambda", estimate=0.5),
                a_job("bbbb2222", created=noon + 60, backend="lambda"),
                a_job("cccc2222", created=noon),
                a_job("dddd2222", created=noon - DAY, backend="lambda"),
                a_job("eeee2222", created=noon - 9 * DAY, backend="lambda"),
            ]
        )
        store.write([ProgressUpdate(each * 4 + "2222", {"spend": 0.25}) for each in "abde"])
    with JournalReader(home).snapshot() as connection:
        assert connection is not None
        assert queries.spending(connection, noon - 2 * DAY) == [
            ("2026-11-20", "lambda", False, 2, 0.5, 0.5),
            ("2026-11-20", "local", False, 1, 0.0, 0.0),
            ("2026-11-19", "lambda", False, 1, 0.25, 0.0),
        ]


def test_what_a_cell_cost_counts_its_own_finished_runs_on_that_backend(
    home: Path, clock: Clock, a_job: MakeJob
) -> None:
    cell = {"notebook": A, "cell_id": "c1", "backend": "lambda"}
    runs = {
        "aaaa2222": (cell, 0.1, JobState.DONE),
        "bbbb2222": (cell, 0.2, JobState.DONE),
        "cccc2222": (cell, 0.4, JobState.FAILED),
        "dddd2222": (cell | {"cell_id": "c2"}, 0.8, JobState.DONE),
        "eeee2222": (cell | {"notebook": B}, 1.6, JobState.DONE),
        "ffff2222": (cell | {"backend": "local"}, 3.2, JobState.DONE),
    }
    with closing(JournalTables(home, clock=clock)) as store:
        store.write([a_job(job_id, **fields) for job_id, (fields, _, _) in runs.items()])
        store.write(
            [
                ProgressUpdate(id, {"spend": spend, "state": state})
                for id, (_, spend, state) in runs.items()
            ]
        )
    with JournalReader(home).snapshot() as connection:
        assert connection is not None
        found = queries.earlier_spends(connection, backend="lambda", notebooks=[A], cell_id="c1")
    assert {name: sorted(spends) for name, spends in found.items()} == {"scores": [0.1, 0.2]}


def test_only_runs_of_a_cell_s_latest_text_tell_its_cost(
    home: Path, clock: Clock, a_job: MakeJob
) -> None:
    cell = {"notebook": A, "cell_id": "c1", "backend": "lambda"}
    with closing(JournalTables(home, clock=clock)) as store:
        for i, source in enumerate(["old", "new", "new"]):
            store.write(
                [a_job(f"job{i}", created=NOON + i, source=source, name=f"line {i}", **cell)]
            )
            store.write([ProgressUpdate(f"job{i}", {"spend": float(i), "state": JobState.DONE})])
    with JournalReader(home).snapshot() as connection:
        assert connection is not None
        found = queries.earlier_spends(connection, backend="lambda", notebooks=[A], cell_id="c1")
    assert found == {"line 2": [2.0], "line 1": [1.0]}


def test_a_snapshot_without_a_journal_is_none(home: Path) -> None:
    with JournalReader(home).snapshot() as connection:
        assert connection is None


def test_estimates_are_judged_by_what_was_done_in_one_go(store: JournalTables, home: Path) -> None:
    estimated = {
        "estimate": 0.5, "estimate_low": 0.4, "estimate_high": 0.6, "spend": 0.45,
        "estimate_seconds": 10.0, "estimate_seconds_low": 8.0, "estimate_seconds_high": 12.0,
        "started": NOON + 10, "ended": NOON + 19,
    }  # fmt: skip
    done = {**estimated, "state": JobState.DONE}
    store.write(
        [
            ProgressUpdate("aaaa2222", done),
            ProgressUpdate("cccc2222", {**done, "estimate": None}),
            ProgressUpdate("dddd2222", {**estimated, "state": JobState.FAILED}),
            ProgressUpdate("eeee2222", done),
        ]
    )
    JournalReader(home).send("eeee2222", "retry")
    with JournalReader(home).snapshot() as connection:
        assert connection is not None
        assert queries.judged(connection, NOON) == queries.JudgedEstimate(
            money=[(Expectation(0.5, 0.4, 0.6), 0.45)],
            seconds=[(Expectation(10.0, 8.0, 12.0), 9.0)] * 2,
        )
        assert queries.judged(connection, NOON + 4) == queries.JudgedEstimate(
            money=[(Expectation(0.5, 0.4, 0.6), 0.45)],
            seconds=[(Expectation(10.0, 8.0, 12.0), 9.0)],
        )
        assert queries.judged(connection, NOON + DAY) == queries.JudgedEstimate([], [])
