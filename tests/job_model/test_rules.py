"""Which jobs may be cancelled, retried and attached to, and what is said of the others."""

from __future__ import annotations

from typing import Any

import pytest

from cloudbutton_backend.job_model import LIFE_CYCLE, JobRecord, JobState
from cloudbutton_backend.job_model.rules import Verb, refusal


def a_job(**changes: Any) -> JobRecord:
    fields = {
        "id": "abcd2345", "name": "scores", "kind": "map", "backend": "local", "n_items": 3,
        "created": 0.0, "pid": 42, "host": "here",
    }  # fmt: skip
    return JobRecord(**(fields | changes))


EXECUTOR, BUTTON = {"kind": "executor"}, {"kind": "button"}
DETACHED = {"options": {"detach": True}}

#: Verb, state, other fields, whether the process that ran it has gone, and what is said; nothing if it may.
CASES: dict[str, tuple[Verb, JobState, dict[str, Any], bool, str]] = {
    "cancel what runs": ("cancel", JobState.RUNNING, {}, False, ""),
    "cancel it once more": ("cancel", JobState.CANCELLING, {}, False, ""),
    "cancel what is done": ("cancel", JobState.DONE, {}, False, "has already ended (done)"),
    "cancel what was lost": (
        "cancel", JobState.LOST, {}, True, "its process (pid 42 on here) is gone"
    ),
    "retry what failed": ("retry", JobState.FAILED, {}, False, ""),
    "retry what was cancelled": ("retry", JobState.CANCELLED, {}, False, ""),
    "retry what runs": ("retry", JobState.RUNNING, {}, False, "is still running"),
    "retry what is being cancelled": ("retry", JobState.CANCELLING, {}, False, "is still cancelling"),
    "retry what is done": ("retry", JobState.DONE, {}, False, "no failed items"),
    "retry an executor's": ("retry", JobState.FAILED, EXECUTOR, False, "Submit them again"),
    "retry in a kernel that has gone": (
        "retry", JobState.FAILED, {}, True, "`%cloud attach abcd2345`"
    ),
    "retry what was lost": ("retry", JobState.LOST, {}, False, "`cloudbutton attach abcd2345`"),
    "attach to what was lost": ("attach", JobState.LOST, {}, True, ""),
    "attach to what failed": ("attach", JobState.FAILED, {}, False, ""),
    "attach to what was cancelled": ("attach", JobState.CANCELLED, {}, False, ""),
    "attach to what is done": ("attach", JobState.DONE, {}, False, ""),
    "attach to what runs in its kernel": ("attach", JobState.RUNNING, {}, False, "belongs to the kernel"),
    "attach to what runs by itself": ("attach", JobState.RUNNING, DETACHED, False, ""),
    "attach to an executor's": ("attach", JobState.LOST, EXECUTOR, True, "an executor's"),
    "attach to a cell of a kernel that has gone": ("attach", JobState.LOST, BUTTON, True, ""),
    "attach to a cell that failed in a kernel that is there": (
        "attach", JobState.FAILED, BUTTON, False, "belongs to the kernel"
    ),
    "attach to a cell that was done in a kernel that has gone": (
        "attach", JobState.DONE, BUTTON, True, ""
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_what_may_not_be_done_is_said_with_the_reason(case: str) -> None:
    verb, state, fields, is_gone, said = CASES[case]
    found = refusal(verb, a_job(**fields), state, is_gone=is_gone)
    assert said in (found or "")
    assert bool(found) == bool(said)
    assert found is None or found.startswith("Job abcd2345 (scores) ")


@pytest.mark.parametrize("state", [state for state in JobState if state is not JobState.LOST])
def test_what_may_be_retried_where_it_ran_is_what_the_life_cycle_lets_begin_again(
    state: JobState,
) -> None:
    assert (refusal("retry", a_job(), state) is None) == ((state, "retry") in LIFE_CYCLE)
