"""Jobs whose process was killed before the journal had them."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.faults.scenarios.workers import session_in
from benchmarks.faults.tasks import value
from cloudbutton_backend.errors import CannotContinue, UnknownName


def test_results_that_were_announced_are_found_without_the_journal(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with session_in(home) as session:
        job = session.map(value, range(40))
        job.results()
    for path in home.glob("journal.db*"):
        path.unlink()
    with session_in(home) as session:
        found = session.attach(job.id)
        assert found.partial() == {index: value(index) for index in range(40)}
        with pytest.raises(CannotContinue):
            found.results()


def test_a_job_that_left_nothing_is_unknown(tmp_path: Path) -> None:
    with session_in(tmp_path / "home") as session, pytest.raises(UnknownName):
        session.attach("nosuchjob")
