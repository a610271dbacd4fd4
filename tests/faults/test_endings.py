"""What is on record when the end of a job is announced."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.faults.scenarios.workers import session_in


def test_a_jobs_end_is_recorded_before_those_who_wait_for_it_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else who flushes the journal after `results()`, or is killed there, leaves a job that runs."""
    with session_in(tmp_path / "home") as session:
        update, was_over = session.journal.update_job, []

        def spy(job_id: str, **columns: Any) -> None:
            if "state" in columns:
                was_over.append(job.wait(0))
            update(job_id, **columns)

        monkeypatch.setattr(session.journal, "update_job", spy)
        job = session.map(abs, range(10))
        assert job.wait(30.0)
        assert was_over == [False]
