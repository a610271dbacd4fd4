"""Asynchronous invocations: taken at once, delivered at least once, tried again, dropped at last."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from cloudbutton_backend.backends.aws_lambda.emulator import EmulatedFaults

from .account import Account, eventually

#: Leaves a line for each delivery, and fails as often as the event says.
NOTED = """
from pathlib import Path
def handler(event, context):
    path = Path(event["path"])
    with path.open("a") as file: file.write(context.aws_request_id + "\\n")
    if len(path.read_text().splitlines()) <= event["failures"]: raise ValueError("not yet")
"""


def _send(account: Account, name: str, path: Any, failures: int = 0) -> str:
    answer = account.invoke(
        name, {"path": str(path), "failures": failures}, InvocationType="Event", LogType="None"
    )
    assert (answer.status, answer.body, answer.error) == (202, None, None)
    return answer.headers["x-amzn-requestid"]


def _lines(path: Any) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def _settled(account: Account) -> bool:
    return account.emulator.state["queued_events"] == 0


def test_an_event_is_taken_at_once_and_delivered(account: Account, tmp_path: Any) -> None:
    request_id = _send(account, account.function(NOTED), tmp_path / "log")
    eventually(lambda: _settled(account))
    assert _lines(tmp_path / "log") == [request_id]


def test_a_failing_event_is_tried_again_after_one_and_two_minutes(
    new_account: Callable[..., Account], tmp_path: Any
) -> None:
    account, log = new_account(), tmp_path / "log"
    request_id = _send(account, account.function(NOTED), log, failures=99)
    for tries, wait in ((1, 60), (2, 120)):
        eventually(lambda: len(_lines(log)) == tries)  # noqa: B023
        eventually(lambda: len(account.emulator.reports) == tries)  # noqa: B023
        account.emulator.advance(wait - 5)
        assert not _settled(account) and len(_lines(log)) == tries
        account.emulator.advance(6)
    eventually(lambda: _settled(account))
    assert _lines(log) == 3 * [request_id]
    (dropped,) = account.emulator.dropped
    assert (dropped.request_id, dropped.deliveries) == (request_id, 3)
    assert dropped.reason == "RetriesExhausted"


def test_an_event_that_succeeds_at_last_is_not_dropped(
    new_account: Callable[..., Account], tmp_path: Any
) -> None:
    account = new_account(retry_seconds=(0.0, 0.0))
    _send(account, account.function(NOTED), tmp_path / "log", failures=2)
    eventually(lambda: _settled(account))
    assert len(_lines(tmp_path / "log")) == 3 and account.emulator.dropped == []


def test_how_often_an_event_is_tried_can_be_configured(account: Account, tmp_path: Any) -> None:
    name = account.function(NOTED)
    account.client("lambda").put_function_event_invoke_config(
        FunctionName=name, MaximumRetryAttempts=0
    )
    _send(account, name, tmp_path / "log", failures=1)
    eventually(lambda: _settled(account))
    assert account.emulator.dropped[-1].deliveries == 1


def test_events_wait_for_room_where_calls_are_throttled(
    new_account: Callable[..., Account], tmp_path: Any
) -> None:
    account = new_account(concurrency=2)
    name = account.function(NOTED)
    for n in range(12):
        _send(account, name, tmp_path / str(n))
    eventually(lambda: _settled(account))
    assert all(len(_lines(tmp_path / str(n))) == 1 for n in range(12))
    assert len([r for r in account.emulator.reports if r.init_ms is not None]) <= 2


def test_an_event_that_never_finds_room_is_dropped_after_six_hours(
    new_account: Callable[..., Account], tmp_path: Any
) -> None:
    account = new_account(concurrency=200)
    name = account.function(NOTED)
    account.client("lambda").put_function_concurrency(
        FunctionName=name, ReservedConcurrentExecutions=0
    )
    _send(account, name, tmp_path / "log")
    account.emulator.advance(6 * 3600 - 10)
    assert not _settled(account)
    account.emulator.advance(20)
    eventually(lambda: _settled(account))
    assert [d.reason for d in account.emulator.dropped] == ["EventAgeExceeded"]


@pytest.mark.parametrize("fault", ["duplicate", "lost_answer"])
def test_an_event_may_run_although_its_caller_does_not_know(
    new_account: Callable[..., Account], tmp_path: Any, fault: Any
) -> None:
    account = new_account(faults=EmulatedFaults(script={1: fault}))
    name, log = account.function(NOTED), tmp_path / "log"
    if fault == "duplicate":
        request_id = _send(account, name, log)
    else:
        with pytest.raises(Exception, match="Connection was closed"):
            _send(account, name, log)
    eventually(lambda: _settled(account))
    assert len(_lines(log)) == (2 if fault == "duplicate" else 1)
    if fault == "duplicate":
        assert set(_lines(log)) == {request_id}, "both copies are the same invocation"
