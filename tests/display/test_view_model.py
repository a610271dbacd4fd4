"""What a view says."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cloudbutton_backend import units
from cloudbutton_backend.job_model import Estimate, JobState, Progress
from cloudbutton_magic.display.rendering import terminal_line, text_of
from cloudbutton_magic.display.view_model import FailureGroup, Tone, view_of

Make = Callable[..., Progress]

ENDED: dict[str, Any] = {"state": JobState.DONE, "total": 200, "done": 200, "elapsed": 12.4}

ESTIMATE = Estimate(0.29, 0.25, 0.35, "the first 8 items")
HEADLINES = [
    ({"total": 200, "done": 131, "failed": 1}, "132 of 200 items · 66 %"),
    ({"total": 1000, "done": 999}, "999 of 1,000 items · 99 %"),
    ({"total": None, "done": 1234}, "1,234 items so far"),
    ({"state": JobState.CANCELLING, "done": 3}, "cancelling after 3 of 4 items"),
    (
        {**ENDED, "task_seconds": 23.6},
        "✓ 200 items in 12.4 s on 2 local workers · 1.9× faster than serial",
    ),
    (
        {**ENDED, "task_seconds": 12.3},
        "✓ 200 items in 12.4 s on 2 local workers · as fast as serial",
    ),
    (
        {**ENDED, "task_seconds": 6.2},
        "✓ 200 items in 12.4 s on 2 local workers · slower than serial (6.2 s of work)",
    ),
    (
        {**ENDED, "task_seconds": 12.3, "waited": 9.0},
        "✓ 200 items in 12.4 s on 2 local workers"
        " · the CPUs were busy: 12.3 s of work waited 9.0 s for them",
    ),
    (
        {"state": JobState.DONE, "total": 1, "done": 1, "workers": 1, "elapsed": 0.0042},
        "✓ 1 item in 4 ms on 1 local worker",
    ),
    (
        {**ENDED, "backend": "lambda", "workers": 200, "spend": 0.31, "budget": 0.5},
        "✓ 200 items in 12.4 s on 200 lambda workers · $0.31 billed (budget $0.50)",
    ),
    (
        {**ENDED, "backend": "lambda", "workers": 1, "spend": 0.31, "estimate": ESTIMATE},
        "✓ 200 items in 12.4 s on 1 lambda worker · $0.31 billed (estimate $0.29)",
    ),
    (
        {**ENDED, "backend": "lambda", "workers": 200, "spend": 0.0115, "budget": 0.012},
        "✓ 200 items in 12.4 s on 200 lambda workers · $0.01 billed (budget $0.012)",
    ),
    ({**ENDED, "budget": 0.5}, "✓ 200 items in 12.4 s on 2 local workers"),
    ({"state": JobState.DONE, "total": 0}, "✓ nothing to do: 0 items"),
    (
        {"state": JobState.CANCELLED, "done": 1, "elapsed": 3.1},
        "◼ cancelled after 1 of 4 items in 3.1 s",
    ),
    (
        {"state": JobState.FAILED, "done": 1, "failed": 2, "first_error": "ValueError: no"},
        "✗ 2 of 4 items failed: ValueError: no",
    ),
    (
        {"state": JobState.FAILED, "done": 1, "first_error": "the backend died"},
        "✗ stopped after 1 of 4 items: the backend died",
    ),
    ({"state": JobState.LOST, "done": 1}, "✗ lost with its kernel after 1 of 4 items"),
]


@pytest.mark.parametrize(("changes", "headline"), HEADLINES, ids=[case[1] for case in HEADLINES])
def test_the_headline_says_it_all(progress: Make, changes: dict[str, Any], headline: str) -> None:
    assert view_of(progress(**changes)).headline == headline


@pytest.mark.parametrize(
    ("state", "failed", "tone"),
    [
        (JobState.RUNNING, 1, Tone.RUNNING),
        (JobState.CANCELLING, 0, Tone.RUNNING),
        (JobState.DONE, 0, Tone.DONE),
        (JobState.FAILED, 1, Tone.FAILED),
        (JobState.LOST, 0, Tone.FAILED),
        (JobState.CANCELLED, 1, Tone.CANCELLED),
    ],
)
def test_the_tone_follows_the_state(
    progress: Make, state: JobState, failed: int, tone: Tone
) -> None:
    assert view_of(progress(state=state, failed=failed)).tone is tone


def test_details_while_it_runs(progress: Make) -> None:
    view = view_of(
        progress(done=1, failed=1, running=2, task_seconds=12.4, spend=0.1, expected_spend=0.3)
    )
    assert view.details == (
        "2 running",
        "1 failed",
        "1.0 s elapsed",
        "about 6 s left",
        "$0.10 spent of about $0.30",
        "job k3fb7xq2",
    )


@pytest.mark.parametrize(
    ("money", "shown"),
    [
        ({}, None),
        ({"budget": 0.5}, None),
        ({"spend": 0.1}, "$0.10 spent"),
        ({"spend": 0.1, "budget": 0.5}, "$0.10 spent (budget $0.50)"),
        ({"estimate": ESTIMATE, "expected_spend": 0.29}, "$0.00 spent of about $0.29"),
        (
            {"spend": 0.0042, "expected_spend": 1.5, "budget": 2.0},
            "$0.0042 spent of about $1.50 (budget $2.00)",
        ),
    ],
)
def test_money_is_shown_where_work_costs_some(
    progress: Make, money: dict[str, Any], shown: str | None
) -> None:
    view = view_of(progress(done=1, running=2, **money))
    assert [line for line in view.details if "$" in line] == ([] if shown is None else [shown])
    assert ("$" in text_of(view)) == (shown is not None)


def test_the_estimate_stands_beside_the_bill(progress: Make) -> None:
    view = view_of(progress(**ENDED, spend=0.31, estimate=ESTIMATE))
    assert "estimated at $0.25 to $0.35 from the first 8 items" in view.details
    failed = view_of(progress(state=JobState.FAILED, done=1, spend=0.31, estimate=ESTIMATE))
    assert "$0.31 billed (estimate $0.29)" in failed.details


def test_a_bill_with_calls_of_unknown_price_is_said_to_be_at_most_that(progress: Make) -> None:
    view = view_of(progress(**ENDED, spend=0.31, at_most=True, estimate=ESTIMATE))
    assert "at most $0.31 (estimate $0.29)" in view.headline
    assert "billed" not in view.headline


def test_details_afterwards(progress: Make) -> None:
    view = view_of(
        progress(
            state=JobState.FAILED,
            done=1,
            failed=1,
            elapsed=10.0,
            task_seconds=18.0,
            retried=1,
            lost_workers=2,
        )
    )
    assert view.details == (
        "1 done, 2 not run",
        "10.0 s on 2 local workers",
        "18.0 s of work",
        "workers 90% busy",
        "1 item tried again",
        "2 workers lost and replaced",
        "job k3fb7xq2",
    )


def test_one_way_of_failing_is_in_the_headline_with_its_first_item(progress: Make) -> None:
    group = FailureGroup(message="ValueError: C < 0", count=3, first="item 17: C=-1")
    view = view_of(progress(state=JobState.FAILED, total=200, failed=3), failures=[group])
    assert view.headline == "✗ 3 of 200 items failed: ValueError: C < 0 (item 17: C=-1)"
    assert view.failures == ("2 more items failed the same way",)


def test_several_ways_of_failing_are_listed_and_bounded(progress: Make) -> None:
    groups = [FailureGroup(message=f"E{i}: no", count=9 - i, first=f"item {i}") for i in range(7)]
    view = view_of(progress(state=JobState.FAILED, failed=42, total=50), failures=groups)
    assert view.failures[0] == "9 × E0: no (first: item 0)"
    assert view.failures[-1] == "… and 2 other kinds of error"
    assert len(view.failures) == 6


def test_text_is_one_line_where_all_went_well(progress: Make) -> None:
    text = text_of(view_of(progress(**ENDED)))
    assert text == "scores: ✓ 200 items in 12.4 s on 2 local workers"


def test_text_says_what_failed_and_what_to_do(progress: Make) -> None:
    view = view_of(
        progress(state=JobState.FAILED, failed=1, first_error="E", warnings=("mind `x`",))
    )
    hinted = replace(view, hints=("`%cloud retry`",))
    assert text_of(hinted).splitlines() == [
        "scores: ✗ 1 of 4 items failed: E",
        "  ! mind `x`",
        "  → `%cloud retry`",
    ]


@pytest.mark.parametrize("width", [10, 40, 80, 200])
def test_the_terminals_line_fits(progress: Make, width: int) -> None:
    line = terminal_line(view_of(progress(done=2, failed=1)), width)
    assert len(line) < width
    if width == 200:
        assert "█" * 18 + "░" * 6 in line


#: The same cases are tested in labextension/tests/format.spec.ts.
WORDING: dict[str, list[tuple[float, str]]] = json.loads(
    (Path(__file__).parents[1] / "wording.json").read_text(encoding="utf-8")
)
WORDED: dict[str, Callable[[Any], str]] = {
    "durations": units.seconds,
    "time left": units.roughly,
    "money": units.dollars,
    "sizes": units.size,
    "counts": units.count,
}


@pytest.mark.parametrize(
    ("kind", "value", "text"),
    [(kind, value, text) for kind, cases in WORDING.items() for value, text in cases],
)
def test_numbers_are_worded_as_in_jupyterlab(kind: str, value: float, text: str) -> None:
    assert WORDED[kind](value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "$0.00"), (0.0042, "$0.0042"), (0.012, "$0.012"), (0.5, "$0.50"), (1234.5, "$1,234.50")],
)
def test_a_limit_is_written_as_it_was_set(value: float, text: str) -> None:
    assert units.limit(value) == text


def test_what_calls_under_way_may_cost_is_said_beside_the_budget(progress: Make) -> None:
    running = progress(spend=0.1, expected_spend=0.3, budget=0.5, committed=0.2)
    assert "$0.10 spent of about $0.30 ($0.20 set aside, budget $0.50)" in view_of(running).details
    free = progress(spend=0.1, expected_spend=0.3, committed=26.0)
    assert "$0.10 spent of about $0.30" in view_of(free).details
