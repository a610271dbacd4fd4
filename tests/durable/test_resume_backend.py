"""A job goes on where it ran, and never where it costs money unasked."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from cloudbutton_backend.dispatch.driver import Driver
from cloudbutton_backend.errors import Unreachable, UsageError
from cloudbutton_backend.session.resume import driver_of, require_same
from cloudbutton_backend.session.session import Session
from cloudbutton_backend.storage.home import home

from .conftest import Start, row_of


def recorded_as_emulated(job_id: str, backend: str) -> None:
    """Have the journal say that a job ran on another backend than it did, an emulated one."""
    with closing(sqlite3.connect(home() / "journal.db")) as journal, journal:
        journal.execute("UPDATE jobs SET backend = ?, emulated = 1 WHERE id = ?", (backend, job_id))


def test_a_job_of_emulated_workers_goes_on_elsewhere_only_when_asked(
    victim: Start, session: Session
) -> None:
    program = victim()
    job_id = program.killed_when(done=10)
    program.open()
    recorded_as_emulated(job_id, "local")
    with pytest.raises(UsageError) as refused:
        session.attach(job_id)
    assert "ran on local (emulated), and `local` is local in this kernel" in str(refused.value)
    assert f"`%cloud attach {job_id} --backend local`" in str(refused.value)
    row = row_of(job_id)
    assert row is not None and row.done == 10, "nobody has claimed it"
    assert session.attach(job_id, backend="local").results() == [x * x for x in range(20)]


def test_a_job_that_went_on_elsewhere_stays_there_when_it_is_attached_to_again(
    victim: Start, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    program = victim()
    job_id = program.killed_when(done=10)
    recorded_as_emulated(
        job_id, "lambda"
    )  # as `--backend lambda` leaves it; the job's file says local
    with pytest.raises(UsageError) as refused:
        session.attach(job_id)
    assert "`lambda` is lambda in this kernel, which costs money" in str(refused.value)
    row = row_of(job_id)
    assert row is not None and row.backend == "lambda"
    with pytest.raises(UsageError, match="ran on lambda"):
        require_same(row, session.driver("local"))


def test_a_job_of_an_emulator_says_so_where_the_cloud_itself_cannot_be_reached(
    victim: Start, session: Session
) -> None:
    def no_region(name: str) -> Driver:
        raise Unreachable(f"No region is chosen for {name}.")

    program = victim()
    job_id = program.killed_when(done=10)
    recorded_as_emulated(job_id, "lambda")
    row = row_of(job_id)
    assert row is not None
    with pytest.raises(UsageError, match="`%cloud use lambda --emulate`, and attach then"):
        driver_of(row, "lambda", no_region)
