"""Builds jobs: those that begin here, and those of earlier processes that are resumed here."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from cloudbutton_backend import settings
from cloudbutton_backend.accounting.daily_budget import budget_grant_of
from cloudbutton_backend.accounting.job_cost import EtaEstimate, JobAccounting, JobCost
from cloudbutton_backend.backends.protocol import JobSpec
from cloudbutton_backend.capture import Blob, CaptureReport
from cloudbutton_backend.dispatch.driver import Driver
from cloudbutton_backend.dispatch.job_state import DispatchPlan
from cloudbutton_backend.job.job import Job, run_state_of, run_with
from cloudbutton_backend.job.listener import JobListener, LocalRunner, check_alive
from cloudbutton_backend.job.recorder import JobRecorder
from cloudbutton_backend.job.run_state import RunContext, RunState
from cloudbutton_backend.job_model import BatchRecord, JobOptions, JobRecord
from cloudbutton_backend.journal import JobRow, Journal
from cloudbutton_backend.session.drivers import Drivers
from cloudbutton_backend.session.job_plan import plan_of
from cloudbutton_backend.storage import sealed_files

JOURNAL_OFF: Final = os.environ.get("CLOUDBUTTON_INTERNAL_JOURNAL") == "off"
"""For measuring what the journal costs; nothing is written then."""


@dataclass(frozen=True, kw_only=True)
class JobFiles:
    """Paths and files of recorded jobs."""

    journal: Journal
    results: Path
    """The directory of the result files."""


@dataclass(frozen=True, kw_only=True)
class JobDefinition:
    """The parts of a job but its items, whether it begins or is resumed."""

    record: JobRecord
    options: JobOptions
    driver: Driver
    payload: bytes
    """The captured function."""
    blobs: tuple[Blob, ...]
    """Its large values."""
    displays: bool
    cwd: str
    path: tuple[str, ...]
    packages: Callable[[], set[str]]
    """Returns the import names of the packages it needs. Finding them out takes its time."""
    known_classes: frozenset[str] = frozenset()
    """Classes of the notebook that travelled with the function; items refer to them."""
    before: int = 0
    """How many items of the same loop ran before the first; messages count them."""


@dataclass(frozen=True, kw_only=True)
class EarlierPart:
    """The part of a job that an earlier process has done."""

    row: JobRow
    batches: Sequence[BatchRecord]
    job: Job | None
    """The job, if code in this process holds it."""


@dataclass(frozen=True)
class PreparedJob:
    """A job that is about to begin, or to go on."""

    job: Job
    definition: JobDefinition
    spec: JobSpec
    run_state: RunState
    recorder: JobRecorder
    listener: JobListener
    plan: DispatchPlan


class JobBuilder:
    """Puts together the jobs of one session.

    Parameters
    ----------
    files
        Where they are written down; asked when the first job begins.
    remember
        Called with each job before it begins or goes on.
    """

    def __init__(
        self, drivers: Drivers, files: Callable[[], JobFiles], remember: Callable[[Job], None]
    ) -> None:
        self.drivers = drivers
        self.files = files
        self.remember = remember
        self._raw_environment: dict[Any, Any] | None = None
        self._environment: dict[str, str] = {}

    def prepare(self, definition: JobDefinition, results: Path | None = None) -> JobSpec:
        """Let the backend prepare for a job, before anything of it is recorded.

        Parameters
        ----------
        results
            Prefix of its result files, if that is known by now.
        """
        record, options = definition.record, definition.options
        try:
            key = sealed_files.results_key(self.files().journal.home, record.id)
        except OSError:  # a disk that is full before the first job: all stays in memory
            key, results = b"", None
        spec = JobSpec(
            id=record.id,
            payload=definition.payload,
            blobs=definition.blobs,
            seed=record.seed,
            guard=options.guard,
            timeout=options.timeout,
            memory=options.memory,
            results=str(results or ""),
            results_key=key,
            cwd=definition.cwd,
            environment=self._environment_now(),
            path=definition.path,
            displays=definition.displays,
            stop_on_error=options.errors == "raise" and options.retries == 0,
            detached=options.detach,
            has_budget=options.budget is not None,
        )
        definition.driver.backend.prepare(spec, definition.packages)
        return spec

    def build(
        self,
        definition: JobDefinition,
        spec: JobSpec,
        report: Callable[[JobListener], CaptureReport],
        earlier: EarlierPart | None = None,
    ) -> PreparedJob:
        """Return the job, to which only its items are missing."""
        record, options, driver = definition.record, definition.options, definition.driver
        journal, limits = self.files().journal, driver.backend.limits
        results = None if JOURNAL_OFF or not spec.results else Path(spec.results)
        recorder = JobRecorder(
            record.id,
            journal,
            results,
            definition.before,
            spec.results_key,
            lambda: settings.resolve().results_max_bytes,
        )
        accounting = self._accounting(definition, earlier)
        context = RunContext(
            record=record,
            options=options,
            notes=recorder,
            money=accounting.cost,
            check_alive=partial(check_alive, driver, record),
            before=definition.before,
        )
        if earlier is not None:
            recorder.go_on(earlier.batches, earlier.row.lost_workers, earlier.row.warnings)
        elif limits.rate is not None and limits.rate.note:
            recorder.warn(limits.rate.note)
        held = None if earlier is None else earlier.job
        if held is None:
            run_state = RunState(context)
        else:
            run_state = run_state_of(held)
            run_state.continue_as(context)
        listener = JobListener(
            run_state, recorder, accounting, journal, spec, definition.known_classes
        )
        runner = LocalRunner(driver, listener)
        if held is not None:
            run_with(held, runner)
        run_state.on_read = partial(journal.update_job, record.id, was_read=True)
        job = held or Job(run_state, runner, lambda: report(listener))
        plan = replace(
            plan_of(record.id, options, limits), by_day=accounting.daily_grant is not None
        )
        return PreparedJob(job, definition, spec, run_state, recorder, listener, plan)

    def _accounting(self, definition: JobDefinition, earlier: EarlierPart | None) -> JobAccounting:
        record, workers = definition.record, definition.options.workers
        journal, limits = self.files().journal, definition.driver.backend.limits
        grant = None if JOURNAL_OFF else budget_grant_of(journal.home, record.id, limits)
        if limits.rate is not None:
            cost = JobCost(record, journal, limits, workers)
            if earlier is not None:
                cost.before = earlier.row.spend
                cost.spend = earlier.row.spend + earlier.row.committed
            return JobAccounting(cost=cost, daily_grant=grant)
        # What a job that goes on was to take was told when it began.
        eta = EtaEstimate(record.id, journal, limits.batch_seconds) if earlier is None else None
        return JobAccounting(eta=eta, daily_grant=grant)

    def _environment_now(self) -> dict[str, str]:
        """Return this process's environment; the same object as long as it has not changed."""
        raw = getattr(os.environ, "_data", None)  # comparing it needs no decoding
        if raw is None or raw != self._raw_environment:
            self._raw_environment = dict(raw or {})
            self._environment = dict(os.environ)
        return self._environment
