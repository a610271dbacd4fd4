"""How long a job will still take, told alike of one in this process and of one in the journal."""

from __future__ import annotations

from typing import Any

import pytest

from cloudbutton_backend.job_model import JobState
from cloudbutton_backend.journal import JobRow
from cloudbutton_magic.display.view_model import view_of

NOON = 1_790_000_000.0


def a_row(**changes: Any) -> JobRow:
    fields: dict[str, Any] = {
        "id": "abcd2345", "name": "scores", "kind": "map", "backend": "local", "n_items": 10,
        "created": NOON, "pid": 1, "host": "here", "state": JobState.RUNNING, "done": 4, "workers": 2,
        "task_seconds": 8.0,
    }  # fmt: skip
    return JobRow(**(fields | changes))


ETAS: dict[str, tuple[dict[str, Any], float | None]] = {
    "what is left, at the mean, shared": ({}, 6 * 2.0 / 2),
    "cached items took no time": ({"cached": 2}, 6 * 4.0 / 2),
    "failed items took theirs": ({"failed": 4}, 2 * 1.0 / 2),
    "nothing has ended": ({"done": 0, "task_seconds": 0.0}, None),
    "nobody works on it": ({"workers": 0}, None),
    "the number of items is unknown": ({"n_items": None}, None),
    "being cancelled": ({"state": JobState.CANCELLING}, None),
    "more than was announced": ({"done": 12}, 0.0),
    "ended": ({"state": JobState.DONE, "done": 10}, 0.0),
}


@pytest.mark.parametrize("case", ETAS)
def test_the_time_left_follows_from_the_items_so_far(case: str) -> None:
    changes, eta = ETAS[case]
    assert a_row(**changes).progress(NOON + 5).eta == eta


def test_a_job_of_another_kernel_says_that_results_came_from_the_cache() -> None:
    row = a_row(state=JobState.DONE, done=10, cached=10, ended=NOON + 1, committed=0.25)
    assert "all from the cache" in view_of(row.progress(NOON)).headline
    continued = a_row(state=JobState.DONE, done=10, cached=4, options={"continues": "wxyz6789"})
    assert "4 done before" in view_of(continued.progress(NOON)).headline


def test_what_calls_in_flight_may_cost_is_told_of_another_kernel_s_job() -> None:
    row = a_row(spend=0.01, committed=0.25, budget=1.0)
    assert any("$0.25 set aside" in each for each in view_of(row.progress(NOON + 5)).details)
