"""What a user is told before a job runs: rows, a recommendation, and where the figures come from."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import cloudbutton_ext as cloud
from cloudbutton_backend.backends import registry
from cloudbutton_backend.backends.local import LocalBackend
from cloudbutton_backend.cost import Rate
from cloudbutton_backend.errors import UnknownName, UsageError
from cloudbutton_backend.journal import JournalReader
from cloudbutton_backend.session import session as session_module
from cloudbutton_magic.commands.cost_report import costs
from tests.support.metered_backend import MeteredBackend


def nap(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


@pytest.fixture(autouse=True)
def _session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def new() -> MeteredBackend:
        return MeteredBackend(
            LocalBackend(workers=2), Rate(per_second=0.1, per_call=0.001), first_wave=2
        )

    monkeypatch.setenv("CLOUDBUTTON_HOME", str(tmp_path))
    monkeypatch.setitem(registry._BUILT_IN, "metered", lambda: new)
    own = session_module.Session()
    monkeypatch.setattr(session_module, "_current", own)
    yield
    own.close()


def test_a_few_items_tell_what_all_take_and_cost() -> None:
    found = cloud.estimate(nap, [0.02] * 100, backend="metered")
    assert found.basis.startswith("16 of 100 items run here, ")
    (row,) = found.rows
    assert (row.backend, row.workers, row.is_asked) == ("metered local", 2, True)
    assert 0.5 < row.seconds.expected < 5.0
    assert 0.2 < row.dollars.expected < 2.0
    assert row.dollars.low < row.dollars.expected < row.dollars.high
    assert found.recommended == row


def test_all_that_is_set_up_is_compared() -> None:
    cloud.use("metered")
    found = cloud.estimate(nap, [0.02] * 50)
    assert [row.backend for row in found.rows] == ["local", "metered local"]
    assert [row.is_asked for row in found.rows] == [False, True]
    assert found.recommended is found.rows[0]


def test_earlier_runs_tell_more_than_a_few_items() -> None:
    cloud.map(nap, [0.02] * 50, backend="metered").results()
    session_module.current().journal.flush(10.0)
    found = cloud.estimate(nap, [0.02] * 50, backend="metered")
    assert found.basis == "1 earlier run"
    assert "from 1 earlier run; nothing was spent." in repr(found)


def test_what_was_said_is_what_the_job_is_compared_with() -> None:
    said = cloud.estimate(nap, [0.02] * 60, backend="metered").rows[0].dollars
    job = cloud.map(nap, [0.02] * 60, backend="metered")
    job.results()
    assert job.estimate is not None
    assert (job.estimate.expected, job.estimate.low) == (said.expected, said.low)
    session_module.current().journal.flush(10.0)
    row = JournalReader().job(job.id)
    assert (row.estimate, row.estimate_basis) == (said.expected, job.estimate.basis)
    assert row.estimate_seconds is not None


def test_estimating_records_and_spends_nothing() -> None:
    cloud.estimate(nap, [0.01] * 20, backend="metered")
    session_module.current().journal.flush(10.0)
    assert JournalReader().jobs() == []
    assert cloud.jobs() == []


def test_where_the_number_of_items_is_not_known_none_is_taken() -> None:
    items = iter([0.01] * 5)
    found = cloud.estimate(nap, items, backend="metered")
    assert found.rows == ()
    assert "estimates need a list" in repr(found)
    assert len(list(items)) == 5


def test_an_unknown_backend_is_refused() -> None:
    with pytest.raises(UnknownName):
        cloud.estimate(nap, [0.01], backend="lamda")


def test_a_time_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(UsageError, match="within"):
        cloud.estimate(nap, [0.01], within=0)


def test_items_that_never_end_are_said() -> None:
    found = cloud.estimate(nap, [60.0] * 4, backend="metered", within=0.5)
    assert "No item ended within 0.5 s here" in repr(found)


def test_the_table_is_there_as_text_and_as_html() -> None:
    found = cloud.estimate(nap, [0.02] * 50, backend="metered")
    text, html = repr(found), found._repr_html_()
    assert "What 50 items would take, from " in text
    assert "→  metered local, 2 workers" in text
    assert "<table>" in html
    assert "metered local, 2 workers" in html


def test_a_free_job_of_some_length_has_its_end_foretold() -> None:
    job = cloud.map(nap, [0.05] * 80, workers=2)
    job.results()
    session_module.current().journal.flush(10.0)
    row = JournalReader().job(job.id)
    assert row.estimate_seconds is not None
    assert row.estimate_seconds_low is not None
    assert row.estimate_seconds_low <= row.estimate_seconds


def test_what_was_spent_is_told_with_how_good_the_estimates_were() -> None:
    cloud.map(nap, [0.02] * 50, backend="metered").results()
    session_module.current().journal.flush(10.0)
    found = costs()
    data = found.to_dict()
    assert data["total"] == pytest.approx(cloud.jobs()[0].cost)
    assert data["today"] == data["total"]
    assert [each["notebook"] for each in data["by_notebook"]] == [None]
    assert data["estimates"]["money"]["jobs"] == 1
    assert "Estimates of bills: " in repr(found)
    assert "By notebook" in found._repr_html_()
