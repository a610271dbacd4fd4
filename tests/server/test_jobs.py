from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cloudbutton_backend.job_model import BatchRecord, JobState
from cloudbutton_backend.journal import ErrorRecord, JobCommand, Journal, LogRecord
from cloudbutton_ext.server import jobs as endpoints

from .conftest import PATIENCE, Ask, a_job
from .processes import in_another_process


def until(condition: Callable[[], bool]) -> None:
    """Wait for another process."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def test_without_a_journal_there_are_no_jobs(ask: Ask) -> None:
    assert ask("jobs") == (200, {"jobs": [], "total": 0, "cursor": None})


def test_a_running_job_is_listed_as_the_contract_says(
    ask: Ask, journal: Journal, jp_root_dir: Path
) -> None:
    created = time.time() - 10
    journal.add_job(
        a_job(
            created=created, notebook=str(jp_root_dir / "sub" / "a.ipynb"), cell_id="c1",
            options={"budget": 0.5}, estimate=0.1, estimate_low=0.05, estimate_high=0.2,
            estimate_seconds=8.0, estimate_seconds_low=6.0, estimate_seconds_high=11.0,
            estimate_basis="the first 2 items",
        )
    )  # fmt: skip
    journal.update_job("abcd2345", started=created, done=3, failed=1, running=2, workers=2,
                       task_seconds=8.0, spend=0.01, committed=0.02, cached=1)  # fmt: skip
    assert journal.flush(10)
    status, body = ask("jobs")
    (job,) = body["jobs"]
    assert status == 200
    assert 10 <= job.pop("elapsed") < 60
    assert job.pop("rate") == pytest.approx(0.4, rel=0.5)
    assert job.pop("speed_up") == pytest.approx(0.8, rel=0.5)
    assert job == {
        "id": "abcd2345", "name": "scores", "kind": "map", "backend": "local",
        "emulated": False,
        "notebook": "sub/a.ipynb", "notebook_name": "a.ipynb", "cell_id": "c1", "state": "running",
        "total": 10, "done": 3, "failed": 1, "running": 2, "workers": 2,
        "created": created, "started": created, "ended": None, "eta": 6 * (8.0 / 3) / 2,
        "task_seconds": 8.0, "cached": 1, "spend": 0.01, "committed": 0.02, "expected_spend": None,
        "estimate": {"expected": 0.1, "low": 0.05, "high": 0.2},
        "estimate_seconds": {"expected": 8.0, "low": 6.0, "high": 11.0},
        "estimate_basis": "the first 2 items", "budget": 0.5, "error": None,
        "warnings": [], "retried": 0, "lost_workers": 0, "can_cancel": True, "can_retry": False,
        "can_attach": False, "detached": False,
    }  # fmt: skip


def test_a_page_is_a_part_of_all(ask: Ask, journal: Journal, jp_root_dir: Path) -> None:
    now = time.time()
    for i in range(5):
        notebook = str(jp_root_dir / "a.ipynb") if i % 2 else None
        journal.add_job(a_job(f"job{i}", created=now + i, name=f"fit {i}", notebook=notebook))
    journal.update_job("job1", state=JobState.DONE)
    assert journal.flush(10)

    def found(**params: Any) -> tuple[list[str], int]:
        body = ask("jobs", **params).body
        return [job["id"] for job in body["jobs"]], body["total"]

    assert found(limit=2) == (["job4", "job3"], 5)
    assert found(limit=2, offset=4) == (["job0"], 5)
    assert found(state="done") == (["job1"], 1)
    assert found(notebook="a.ipynb") == (["job3", "job1"], 2)
    assert found(search="fit 2") == (["job2"], 1)


WRONG: dict[str, str] = {
    "jobs?limit=0": "`limit` must be a whole number from 1 to 500",
    "jobs?limit=501": "`limit`",
    "jobs?limit=ten": "`limit`",
    "jobs?offset=-1": "`offset`",
    "jobs?offset=99999999999999999999": "`offset`",
    "jobs?state=happy": "`state` must be one of running, cancelling, done",
    "jobs?search=" + "x" * 1001: "`search` must be at most 1000 characters",
    "jobs/abcd2345/batches?after=x": "`after`",
    "jobs/abcd2345/batches?limit=20001": "`limit`",
    "jobs/abcd2345/log?after=²": "`after`",
    "spend?days=0": "`days`",
    "spend?days=1e3": "`days`",
    "estimate?cell_id=" + "x" * 1001: "`cell_id`",
}


@pytest.mark.parametrize("request_", WRONG)
def test_what_does_not_fit_is_named(request_: str, ask: Ask) -> None:
    path, _, query = request_.partition("?")
    name, _, value = query.partition("=")
    status, body = ask(path, **{name: value})
    assert status == 400
    assert WRONG[request_] in body["message"]


@pytest.mark.parametrize(
    "path", ["jobs/nosuch22", "jobs/nosuch22/batches", "jobs/nosuch22/errors", "jobs/nosuch22/log"]
)
def test_a_job_that_is_not_there_is_said_so(path: str, ask: Ask, journal: Journal) -> None:
    journal.add_job(a_job())
    assert journal.flush(10)
    status, body = ask(path)
    assert status == 404
    assert "`nosuch22`" in body["message"]


def test_one_job_tells_all_of_itself(ask: Ask, journal: Journal) -> None:
    journal.add_job(
        a_job(source="fit(x)", plan="1 loop", seed=2**64 - 1, options={"retries": 2},
              capture={"values": [{"name": "X", "nbytes": 8}]})
    )  # fmt: skip
    assert journal.flush(10)
    job = ask("jobs/abcd2345").body
    expected = {
        "source": "fit(x)", "plan": "1 loop", "seed": str(2**64 - 1), "options": {"retries": 2},
        "capture": {"values": [{"name": "X", "nbytes": 8}]}, "pid": os.getpid(),
    }  # fmt: skip
    assert {name: job[name] for name in expected} == expected
    assert job["state"] == "running"


def test_numbers_that_json_lacks_become_null(ask: Ask, journal: Journal) -> None:
    journal.add_job(a_job(options={"timeout": float("inf")}, estimate=float("inf")))
    assert journal.flush(10)
    job = ask("jobs/abcd2345").body
    assert (job["options"], job["estimate"]["expected"]) == ({"timeout": None}, None)


def test_batches_come_by_column(ask: Ask, journal: Journal) -> None:
    journal.add_job(a_job())
    for i in range(3):
        worker, status = f"w-{i % 2}", "done" if i else "lost"
        journal.add_batch(
            BatchRecord("abcd2345", i, worker, 4 * i, 4, 10.0, 11.0, status, memory_peak=2**20)  # type: ignore[arg-type]
        )
    assert journal.flush(10)
    body = ask("jobs/abcd2345/batches", limit=2).body
    assert (body["workers"], body["statuses"], body["more"]) == (
        ["w-0", "w-1"],
        ["lost", "done"],
        True,
    )
    columns = body["columns"]
    assert set(columns) == {
        "row", "batch", "attempt", "worker", "first", "count", "start", "end", "status", "failed",
        "cpu", "memory", "cost",
    }  # fmt: skip
    assert columns["worker"] == [0, 1]
    assert columns["memory"] == [2**20, 2**20]
    rest = ask("jobs/abcd2345/batches", after=body["next"]).body
    assert (rest["columns"]["batch"], rest["workers"], rest["more"]) == ([2], ["w-0"], False)
    nothing = ask("jobs/abcd2345/batches", after=rest["next"]).body
    assert (nothing["columns"]["batch"], nothing["next"]) == ([], rest["next"])


def test_errors_come_grouped_the_most_frequent_first(ask: Ask, journal: Journal) -> None:
    journal.add_job(a_job())
    journal.update_job("abcd2345", failed=700)
    for i, message in enumerate(["odd", "even", "even"]):
        journal.add_error(ErrorRecord("abcd2345", i, f"item {i}", "ValueError", message, "trace"))
    assert journal.flush(10)
    body = ask("jobs/abcd2345/errors").body
    assert [(group["message"], group["count"]) for group in body["groups"]] == [
        ("even", 2),
        ("odd", 1),
    ]
    assert body["groups"][0]["items"] == [
        {"index": 1, "item": "item 1"},
        {"index": 2, "item": "item 2"},
    ]
    assert body["groups"][0]["traceback"] == "trace"
    assert body["total"] == 700


def test_printed_lines_come_after_the_last_one_seen(ask: Ask, journal: Journal) -> None:
    journal.add_job(a_job())
    journal.add_log(LogRecord("abcd2345", "one\n", item=1))
    journal.add_log(LogRecord("abcd2345", "two\n", item=2, stream="stderr"))
    assert journal.flush(10)
    body = ask("jobs/abcd2345/log").body
    assert [(each["item"], each["stream"], each["text"]) for each in body["pieces"]] == [
        (1, "stdout", "one\n"),
        (2, "stderr", "two\n"),
    ]
    assert ask("jobs/abcd2345/log", after=body["next"]).body == {"pieces": [], "next": body["next"]}


@pytest.fixture
def obeyed(journal: Journal) -> Iterator[list[JobCommand]]:
    """Return the commands that the job's process takes."""
    taken: list[JobCommand] = []
    stop = journal.on_command(taken.append)
    yield taken
    stop()


@pytest.mark.parametrize(
    ("verb", "state"), [("cancel", JobState.RUNNING), ("retry", JobState.FAILED)]
)
def test_a_command_reaches_the_job_s_process(
    verb: str, state: JobState, ask: Ask, journal: Journal, obeyed: list[JobCommand]
) -> None:
    journal.add_job(a_job())
    journal.update_job("abcd2345", state=state)
    assert journal.flush(10)
    assert ask("jobs/abcd2345").body[f"can_{verb}"] is True
    status, body = ask(f"jobs/abcd2345/{verb}", method="POST")
    assert status == 202
    until(lambda: bool(obeyed))
    assert [(command.verb, command.id) for command in obeyed] == [(verb, body["command"])]
    until(lambda: ask(f"commands/{body['command']}").body["taken"])


REFUSED: dict[str, tuple[str, dict[str, Any], JobState, str]] = {
    "cancel what is done": ("cancel", {}, JobState.DONE, "already ended (done)"),
    "cancel without a process": ("cancel", {"pid": 2**22 + 1, "host": "elsewhere"},
                                 JobState.RUNNING, "is gone"),
    "retry what runs": ("retry", {}, JobState.RUNNING, "still running"),
    "retry what is being cancelled": ("retry", {}, JobState.CANCELLING, "still cancelling"),
    "retry what is done": ("retry", {}, JobState.DONE, "no failed items"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_done_is_refused_with_the_reason(
    case: str, ask: Ask, journal: Journal, jp_serverapp: Any
) -> None:
    verb, fields, state, reason = REFUSED[case]
    journal.add_job(a_job(**fields))
    journal.update_job("abcd2345", state=state)
    assert journal.flush(10)
    jp_serverapp.web_app.settings["cloudbutton"].clock = lambda: (
        time.time() + 60
    )  # nothing was heard
    status, body = ask(f"jobs/abcd2345/{verb}", method="POST")
    assert status == 409
    assert reason in body["message"]
    assert "scores" in body["message"]


def test_a_job_whose_process_has_gone_cannot_be_retried(ask: Ask, home: Path) -> None:
    in_another_process(
        home,
        "journal.add_job(a_job()); journal.update_job('abcd2345', state='failed')\n"
        "assert journal.flush(10)",
    ).wait()
    assert ask("jobs/abcd2345").body["can_retry"] is False
    status, body = ask("jobs/abcd2345/retry", method="POST")
    assert status == 409
    assert "`%cloud attach abcd2345`" in body["message"]


def test_a_command_that_nobody_takes_is_taken_back(
    ask: Ask, journal: Journal, jp_asyncio_loop: asyncio.AbstractEventLoop,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(endpoints, "PATIENCE", 0.0)
    journal.add_job(a_job())  # and this process listens to no command
    assert journal.flush(10)
    command = ask("jobs/abcd2345/cancel", method="POST").body["command"]
    until(lambda: ask(f"commands/{command}").status == 404)
    assert "taken back" in ask(f"commands/{command}").body["message"]


def test_a_job_of_a_busy_process_is_cancelled_through_the_server(ask: Ask, home: Path) -> None:
    process = in_another_process(
        home,
        "import cloudbutton_ext as cloud\n"
        "job = cloud.map(lambda x: time.sleep(60), range(4), workers=1, quiet=True)\n"
        "job.wait(60)\n"
        "print(job.state.value, flush=True)",
    )
    until(lambda: any(job["running"] for job in ask("jobs").body["jobs"]))
    (job,) = ask("jobs").body["jobs"]
    began = time.monotonic()
    assert ask(f"jobs/{job['id']}/cancel", method="POST").status == 202
    until(lambda: ask(f"jobs/{job['id']}").body["state"] == "cancelled")
    assert time.monotonic() - began < 20  # a second; the rest is for busy machines
    assert process.communicate(timeout=PATIENCE)[0] == "cancelled\n"
