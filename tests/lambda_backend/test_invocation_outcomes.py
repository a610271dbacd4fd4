"""The platform's words for how a function ended, and ours."""

from __future__ import annotations

import json
import random

import pytest

from cloudbutton_backend.backends.aws_lambda.invocation_outcome import (
    explain,
    failure_of,
    read_report,
)
from cloudbutton_backend.backends.aws_lambda.rate_limit import AimdLimiter, OutageTimer, delay

KILLED = "Runtime exited with error: signal: killed"


def report(billed: int = 100, peak: int = 50, status: str = "") -> str:
    return (
        f"REPORT RequestId: 1-2\tDuration: {billed}.10 ms\tBilled Duration: {billed} ms\t"
        f"Memory Size: 128 MB\tMax Memory Used: {peak} MB\t{status}\n"
    )


@pytest.mark.parametrize(
    ("kind", "message", "log", "fault", "words"),
    [
        ("Sandbox.Timedout", "Error: Task timed out after 3.00 seconds", "", "timeout", "3.00 s"),
        ("", "2026-11-20 1-2 Task timed out after 900.00 seconds", "", "timeout", "time limit"),
        ("Runtime.ExitError", KILLED, report(peak=128), "memory", "--memory"),
        ("Runtime.ExitError", KILLED, report(peak=40), "crash", "killed"),
        ("Runtime.ExitError", "Runtime exited with error: exit status 1", report(), "crash", "exit status 1"),
        ("Runtime.OutOfMemory", "Runtime exited", report(peak=128), "memory", "with `memory=`"),
        ("Function.ResponseSizeTooLarge", "Response payload size exceeded", "", "size", "larger"),
        ("Runtime.ImportModuleError", "Unable to import module", "", "start", "cannot start"),
        ("Runtime.HandlerNotFound", "Handler missing", "", "start", "cannot start"),
        ("KeyError", "'wire'", "Traceback\n  a line of it", "code", "a line of it"),
    ],
)  # fmt: skip
def test_an_end_is_recognised_and_named(
    kind: str, message: str, log: str, fault: str, words: str
) -> None:
    body = json.dumps({"errorType": kind, "errorMessage": message}).encode()
    failure = failure_of(body, log)
    assert failure.fault == fault
    assert words in explain(failure)


def test_a_body_that_is_no_json_is_shown_as_it_is() -> None:
    assert "<html>" in explain(failure_of(b"<html>Bad gateway", ""))


def test_the_log_of_a_crash_is_shown_without_the_platforms_own_lines() -> None:
    log = f"START RequestId: 1\nFatal Python error\nEND RequestId: 1\n{report()}"
    text = explain(failure_of(b'{"errorType": "Runtime.ExitError", "errorMessage": "x"}', log))
    assert "Fatal Python error" in text and "START" not in text and "REPORT" not in text


@pytest.mark.parametrize(
    ("log", "billed"),
    [
        (report(120), 0.12),
        (report(120) + "more\n" + report(7), 0.007),
        ("nothing of the kind", None),
        ("REPORT RequestId: x\tDuration: 1.00 ms\n", None),
    ],
)
def test_the_last_report_counts(log: str, billed: float | None) -> None:
    found = read_report(log)
    assert (found.billed if found else None) == billed


# -- pressure


def test_refusals_that_come_together_close_the_window_once() -> None:
    window = AimdLimiter(100)
    window.under_way = 100
    for _ in range(50):
        window.refused(10.0)
    assert window.size == 70
    window.refused(11.0)
    assert window.size == 49


def test_the_window_closes_from_what_is_under_way_and_never_quite() -> None:
    window = AimdLimiter(1000)
    window.under_way = 10
    window.refused(0.0)
    assert window.size == 7
    for second in range(1, 50):
        window.under_way = 1
        window.refused(float(second))
    assert window.size == 1 and not window.is_open


def test_answers_open_the_window_again_up_to_what_is_allowed() -> None:
    window = AimdLimiter(20)
    window.under_way = 20
    window.refused(0.0)
    for _ in range(1000):
        window.answered()
    assert window.size == 20


def test_an_outage_ends_with_the_first_success() -> None:
    outage = OutageTimer(60.0)
    assert not outage.failed(0.0, "no") and not outage.failed(59.0, "no")
    outage.succeeded()
    assert not outage.failed(100.0, "no") and outage.failed(160.0, "no")


def test_waits_grow_and_differ_but_stay_bounded() -> None:
    chance = random.Random(1)
    waits = [delay(attempt, chance) for attempt in range(20)]
    assert waits[0] < 0.11 and 2.5 <= waits[-1] <= 5.0 and len(set(waits)) == 20
