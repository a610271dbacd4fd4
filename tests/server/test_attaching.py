from __future__ import annotations

import time
from typing import Any

import pytest

from cloudbutton_backend.job_model import JobState
from cloudbutton_backend.journal import JobRow, Journal
from cloudbutton_ext.server import serializers

from .conftest import Ask, a_job


def a_row(state: JobState = JobState.LOST, **changes: Any) -> JobRow:
    return JobRow(state=state, **vars(a_job(**changes)))


NAMES: dict[str, tuple[str, str | None, str]] = {
    "the cell's own": ("map", "%%cloud map x in xs -> scores\nfit(x)", " -> scores"),
    "several": ("map", "%%cloud map x in xs -> a, b --workers 2\nfit(x)", " -> a, b"),
    "none given": ("map", "%%cloud map x in xs\nfit(x)", " -> results_abcd2345"),
    "a function's, which is not the results'": (
        "map", "def fit(x):\n    return x", " -> results_abcd2345"
    ),
    "a line of another version": ("map", "%%cloud fold x -> y\nx", " -> results_abcd2345"),
    "no source at all": ("submit", None, " -> results_abcd2345"),
    "variables of a whole cell": ("run", "%%cloud run -> model\nmodel = fit()", ""),
    "variables of a pressed cell": ("button", "%%cloud\nys = [f(x) for x in xs]", ""),
}  # fmt: skip


@pytest.mark.parametrize("case", NAMES)
def test_results_get_the_names_that_they_were_to_have_or_one_that_is_free(case: str) -> None:
    kind, source, names = NAMES[case]
    assert serializers.line_for(a_row(kind=kind, source=source)) == f"%cloud attach abcd2345{names}"


def test_an_executor_s_job_has_no_line() -> None:
    assert serializers.line_for(a_row(kind="executor")) is None


def test_a_lost_job_and_a_detached_one_are_told_apart(ask: Ask, journal: Journal) -> None:
    journal.add_job(a_job("detached", options={"detach": True}))
    journal.add_job(a_job("attended", created=time.time() - 10, options={"detach": False}))
    assert journal.flush(10)
    assert [
        (job["id"], job["state"], job["detached"], job["can_attach"]) for job in ask("jobs").body["jobs"]
    ] == [("detached", "running", True, True), ("attended", "running", False, False)]  # fmt: skip
    assert ask("jobs/detached").body["attach"] == "%cloud attach detached -> results_detached"
