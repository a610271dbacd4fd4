"""Attaches to a job by its id: its results are there at once, the rest is continued here."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from cloudbutton_backend.durable import job_file
from cloudbutton_backend.durable.orphans import unrecorded
from cloudbutton_backend.durable.salvage import SalvagedResults, salvage
from cloudbutton_backend.errors import CannotContinue, JobFailed, Tampered, UnknownName, UsageError
from cloudbutton_backend.job.job import Job, run_state_of
from cloudbutton_backend.job_model import JobState
from cloudbutton_backend.job_model.rules import refusal
from cloudbutton_backend.journal import JobRow, JournalReader
from cloudbutton_backend.journal.ownership import OwnedElsewhere, record_done
from cloudbutton_backend.results.result_ranges import named
from cloudbutton_backend.session.checkpoint import Checkpoint
from cloudbutton_backend.session.finished_jobs import past_job, report_of
from cloudbutton_backend.session.follow import Follower, RemoteRunner
from cloudbutton_backend.session.job_builder import JobBuilder
from cloudbutton_backend.session.keeper import KEEPER_STARTS_WITHIN, start_keeper
from cloudbutton_backend.session.resume import ResumeOverrides, Resumer
from cloudbutton_backend.storage import job_paths


class Attacher:
    """Attaches to jobs for one session."""

    def __init__(self, builder: JobBuilder) -> None:
        self._files = builder.files
        self._remember = builder.remember
        self._resumer = Resumer(builder)
        self._followers: list[Follower] = []

    def attach(self, job_id: str, overrides: ResumeOverrides) -> Job:
        """Return the job with this id and its results so far; see `Session.attach`."""
        row = self._row(job_id)
        if row.kind == "executor":
            raise UsageError(refusal("attach", row, row.state))
        if row.kind == "button":
            raise UsageError(
                f"Job {row.id} is a loop of a cell: `%cloud attach {row.id}` in a notebook runs the cell"
                " again, and takes over what is done."
            )
        if row.state in (JobState.RUNNING, JobState.CANCELLING):
            if overrides:
                raise OwnedElsewhere(row.id, row.pid, row.host)
            return self.follow(row)
        found = self._salvaged(row)
        if found.missing(row.n_items) == []:
            return self._read(self._as_done(row, found), found)
        try:
            return self._resumer.go_on(row, overrides)
        except CannotContinue as error:
            return self._read(row, found, error)
        except OwnedElsewhere:  # just now, by another process that attached, too
            if overrides:
                raise
            return self.follow(self._reader().job(row.id))

    def _reader(self) -> JournalReader:
        return JournalReader(self._files().journal.home)

    def _row(self, job_id: str) -> JobRow:
        """Return what is known of a job.

        Raises
        ------
        UnknownName
            There is nothing of it.
        """
        try:
            return self._reader().job(job_id)
        except UnknownName as error:
            files = self._files()
            try:
                return unrecorded(files.journal.home, files.results, job_id)
            except UnknownName:
                raise error from None  # which knows names that are near

    def _salvaged(self, row: JobRow) -> SalvagedResults:
        return salvage(self._files().results, row.id, self._reader().batches(row.id))

    def _as_done(self, row: JobRow, found: SalvagedResults) -> JobRow:
        """Return the row of a job that has all its results, whatever its process came to record of that."""
        if row.state is JobState.DONE:
            return row
        n_items = found.stop
        record_done(self._files().journal.home, row.id, n_items)
        return replace(
            row, state=JobState.DONE, n_items=n_items, done=n_items, failed=0, running=0, error=None
        )

    # -- what another process runs

    def follow(self, row: JobRow) -> Job:
        """Return a job that another process runs."""
        files = self._files()
        home = files.journal.home
        try:
            kept = job_file.load(home, row.id)
            before, report = kept.before, kept.report
        except (OSError, Tampered):  # its results can be read all the same
            before, report = 0, report_of(row)
        held: list[Job] = []

        def take_over(row: JobRow) -> bool:
            found = self._salvaged(row)
            if found.missing(row.n_items) == []:
                self._as_done(row, found)
                return False
            self._resumer.go_on(row, ResumeOverrides(), held[0])
            return True

        def go_on(budget: float | None) -> None:
            row_now = self._reader().job(row.id)
            self._resumer.go_on(row_now, ResumeOverrides(budget=budget), held[0])

        follower = Follower(home, files.results, row, before, take_over)
        job = Job(follower.run_state, RemoteRunner(home, row.id, go_on), lambda: report)
        held.append(job)
        self._note_reading(job)
        self._followers.append(follower)
        self._remember(job)
        follower.start()
        return job

    def close(self) -> None:
        """Stop following jobs. Safe to repeat."""
        for follower in self._followers:
            follower.stop()

    def hand_over(self, job_id: str, checkpoint: Checkpoint) -> Job:
        """Start a keeper for a job that was not started yet, and follow it.

        Raises
        ------
        BackendError
            The keeper did not start.
        """
        home = self._files().journal.home
        checkpoint.write_all()
        try:
            start_keeper(home, job_id)
        except BaseException:
            job_paths.remove_files(home, job_id)
            raise
        return self.follow(self._reader().job(job_id))

    def adopt(self, job_id: str) -> Job:
        """Run a job that was written down and not started: in a keeper, which has nothing else to do."""
        journal = self._files().journal
        kept = job_file.load(journal.home, job_id)
        journal.add_job(replace(kept.record, pid=os.getpid()))
        journal.flush(KEEPER_STARTS_WITHIN)
        return self._resumer.go_on(self._reader().job(job_id), ResumeOverrides())

    # -- what can only be read

    def _read(
        self, row: JobRow, found: SalvagedResults, why_not: CannotContinue | None = None
    ) -> Job:
        """Return a job as something to read, and why what is missing cannot be run."""
        error: JobFailed | None = why_not
        if why_not is not None and row.state is JobState.DONE:
            error = JobFailed(
                f"The results of {named(found.missing(row.n_items) or [])} of job {row.id} cannot be read any"
                f" more, though it was done. {_why(row, found.trouble)} The others are in `job.partial()`."
            )
            error.__cause__ = why_not
        trouble = found.trouble if error else ()
        job = past_job(row, self._reader().batches(row.id), found, error, trouble)
        self._note_reading(job)
        self._remember(job)
        return job

    def _note_reading(self, job: Job) -> None:
        journal = self._files().journal
        run_state_of(job).on_read = partial(journal.update_job, job.id, was_read=True)


def _why(row: JobRow, trouble: Sequence[str]) -> str:
    """Return why results of a job that was done may be missing."""
    if row.cached and not trouble:
        return "They were another job's, from the cache: run the cell again with `--cache`."
    return f"{'. '.join(trouble) or 'Their files were removed'}."
