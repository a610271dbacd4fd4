from __future__ import annotations

import time
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudbutton_backend.accounting.spending import SpendingReport
from cloudbutton_backend.cost.job_estimate import EarlierRun, from_history
from cloudbutton_backend.job_model import JobState
from cloudbutton_backend.journal import Journal
from cloudbutton_backend.journal.queries import Spending
from cloudbutton_ext.server.spend import as_json, estimate

from .conftest import Ask, a_job

TODAY = date(2026, 11, 20)


def reported(spent: list[Spending], days: int) -> SpendingReport:
    return SpendingReport(
        today=TODAY, days=days, spent=tuple(spent), by_notebook=(), money=None, seconds=None,
        per_day=None,
    )  # fmt: skip


def test_spending_is_reported_by_day_and_this_month_s_by_backend() -> None:
    found = [
        Spending("2026-11-20", "lambda", False, 2, 0.5, 0.6),
        Spending("2026-11-20", "lambda", True, 1, 4.0, 4.0),
        Spending("2026-11-20", "local", False, 3, 0.0, 0.0),
        Spending("2026-11-01", "lambda", False, 1, 0.25, 0.2),
        Spending("2026-10-31", "lambda", False, 9, 9.0, 9.0),
    ]
    report = as_json(reported(found, days=7))
    assert [(day["date"], day["backend"], day["emulated"]) for day in report["days"]] == [
        ("2026-11-20", "lambda", False),
        ("2026-11-20", "lambda", True),
        ("2026-11-20", "local", False),
    ]
    month = {(each["backend"], each["emulated"]): each for each in report["month"]}
    billed = month["lambda", False]
    assert (billed["spend"], billed["estimate"]) == pytest.approx((0.75, 0.8))
    assert billed["jobs"] == 3
    assert month["local", False] == {
        "backend": "local", "emulated": False, "spend": 0.0, "estimate": 0.0, "jobs": 3,
    }  # fmt: skip
    assert month["lambda", True]["spend"] == 4.0
    assert report["total"] == 0.75  # what costs nothing is left out
    assert report["today"] == {"spend": 0.5, "budget": None}


def test_a_report_over_months_counts_only_this_one_for_the_month() -> None:
    found = [Spending("2026-10-31", "lambda", False, 1, 9.0, 9.0)]
    report = as_json(reported(found, days=31))
    assert [day["spend"] for day in report["days"]] == [9.0]
    assert (report["month"], report["total"]) == ([], 0.0)


def test_spending_over_http(ask: Ask, journal: Journal) -> None:
    journal.add_job(a_job(backend="lambda", estimate=0.2))
    journal.update_job("abcd2345", spend=0.25)
    journal.add_job(a_job("bbbb2222", backend="lambda", created=time.time() - 40 * 86_400))
    assert journal.flush(10)
    body = ask("spend").body
    assert [
        (day["backend"], day["jobs"], day["spend"], day["estimate"]) for day in body["days"]
    ] == [("lambda", 1, 0.25, 0.2)]
    assert body["month"] == [
        {"backend": "lambda", "emulated": False, "spend": 0.25, "estimate": 0.2, "jobs": 1}
    ]
    assert body["total"] == 0.25
    assert body["estimates"] == {"money": None, "seconds": None}


def test_today_s_spending_is_told_against_the_day_s_budget(
    ask: Ask, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ask("spend").body["today"] == {"spend": 0.0, "budget": None}
    monkeypatch.setenv("CLOUDBUTTON_BUDGET_PER_DAY", "5")
    journal.add_job(a_job(backend="lambda"))
    journal.update_job("abcd2345", spend=1.25)
    assert journal.flush(10)
    assert ask("spend").body["today"] == {"spend": 1.25, "budget": 5.0}


def test_estimates_are_judged_over_http(ask: Ask, journal: Journal) -> None:
    started = time.time() - 60
    for job_id, spend, seconds in (("aaaa2222", 0.25, 8.0), ("bbbb2222", 0.5, 20.0)):
        job = a_job(
            job_id, backend="lambda", created=started, estimate=0.3, estimate_low=0.2,
            estimate_high=0.4, estimate_seconds=10.0, estimate_seconds_low=9.0,
            estimate_seconds_high=25.0,
        )  # fmt: skip
        journal.add_job(job)
        journal.update_job(
            job_id, state=JobState.DONE, spend=spend, started=started, ended=started + seconds
        )
    assert journal.flush(10)
    assert ask("spend").body["estimates"] == {
        "money": {"jobs": 2, "median_error": pytest.approx(0.3), "within": 0.5},
        "seconds": {"jobs": 2, "median_error": pytest.approx(0.375), "within": 0.5},
    }


SPENDS = st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=50)


@given(SPENDS)
def test_an_estimate_lies_between_its_bounds(spends: list[float]) -> None:
    found = estimate({"line 2": spends}, "lambda")
    assert 0 <= found["low"] <= found["expected"] <= found["high"]
    assert min(spends) * 0.999 <= found["expected"] <= max(spends) * 1.001
    assert found["jobs"] == len(spends)


def test_it_is_the_estimate_that_the_job_itself_makes() -> None:
    own = from_history([EarlierRun(1, 0.2), EarlierRun(1, 0.3)], 1)
    assert own is not None
    found = estimate({"line 2": [0.2, 0.3]}, "lambda")
    assert (found["expected"], found["low"], found["high"]) == (own.expected, own.low, own.high)


def test_an_estimate_says_on_what_it_rests() -> None:
    assert estimate({}, "lambda")["expected"] is None
    assert estimate({}, "lambda")["message"].startswith(
        "This cell has not run to its end on lambda"
    )
    assert (
        estimate({"line 2": [0.25]}, "lambda")["message"]
        == "1 earlier run of this cell on lambda cost $0.17 to $0.33, mostly about $0.25."
    )
    assert estimate({"line 2": [0.0, 1.0, 2.0], "line 5": [1.0]}, "lambda")["jobs"] == 3


def test_a_cell_costs_what_its_loops_do_together() -> None:
    found = estimate({"line 2": [0.1, 0.1], "line 5": [0.5]}, "lambda")
    assert found["expected"] == pytest.approx(0.6)
    assert found["low"] < 0.6 < found["high"]


def test_an_estimate_over_http_rests_on_the_runs_of_the_cell(
    ask: Ask, journal: Journal, jp_root_dir: Path
) -> None:
    notebook = str(jp_root_dir / "a.ipynb")
    for job_id, cell, spend in (
        ("aaaa2222", "c1", 0.1),
        ("bbbb2222", "c1", 0.3),
        ("cccc2222", "c2", 9.0),
    ):
        journal.add_job(a_job(job_id, notebook=notebook, cell_id=cell, backend="lambda"))
        journal.update_job(job_id, state=JobState.DONE, spend=spend)
    assert journal.flush(10)
    asked = {"backend": "lambda", "notebook": "a.ipynb"}
    found = ask("estimate", cell_id="c1", **asked).body
    assert (found["expected"], found["jobs"]) == (pytest.approx(0.2), 2)
    assert ask("estimate", cell_id="c3", **asked).body["expected"] is None
    assert ask("estimate").body["jobs"] == 0
