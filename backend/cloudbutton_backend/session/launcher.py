"""From a function and its items to a job under way."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from cloudbutton_backend import settings
from cloudbutton_backend.accounting.daily_budget import allowance_of
from cloudbutton_backend.accounting.eta import Outlook
from cloudbutton_backend.accounting.history import expected_bill
from cloudbutton_backend.accounting.job_cost import Bill, estimate_columns
from cloudbutton_backend.backends.capabilities import HasPortableSettings
from cloudbutton_backend.backends.protocol import JobSpec
from cloudbutton_backend.capture import Captured, CaptureReport, capture, imports_of_items
from cloudbutton_backend.dispatch.driver import Driver
from cloudbutton_backend.dispatch.item_source import PushSource, SequenceSource, StreamSource, fixed
from cloudbutton_backend.dispatch.job_state import Plan
from cloudbutton_backend.durable.job_file import StoredJob, python_version
from cloudbutton_backend.errors import UsageError, WrongArgument
from cloudbutton_backend.job.job import Job
from cloudbutton_backend.job.listener import Driven, Reporter, check_alive
from cloudbutton_backend.job.recorder import Recorder
from cloudbutton_backend.job.run_state import Course
from cloudbutton_backend.job_model import Estimate, JobOptions, JobRecord, new_job_id
from cloudbutton_backend.journal import Journal
from cloudbutton_backend.results.result_ranges import Run, ranges_of
from cloudbutton_backend.session.checkpoint import Deposit
from cloudbutton_backend.session.drivers import Drivers
from cloudbutton_backend.session.job_plan import (
    all_of,
    check,
    cwd,
    drawn_seed,
    extra_of,
    kind_of,
    length_of,
    plain,
    plan_of,
)
from cloudbutton_backend.worker.context import in_task

if TYPE_CHECKING:
    from cloudbutton_backend.result_cache import Index

_SAMPLE: Final = 3
"""Items that are looked at for the packages they need."""
JOURNAL_OFF: Final = os.environ.get("CLOUDBUTTON_INTERNAL_JOURNAL") == "off"
"""For measuring what the journal costs; nothing is written then."""

Kind = Literal["map", "run", "submit", "executor", "button", "map_reduce"]

Found = Callable[[str, Captured, Sequence[Any]], Sequence[Run]]
"""Asked with a job's id, its function and its items: disjoint runs of those with results, none failed."""


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where a job was started, and what it is called."""

    kind: Kind = "map"
    name: str | None = None
    source: str | None = None
    """The cell or the function, as the user wrote it."""
    notebook: str | None = None
    cell_id: str | None = None
    before: int = 0
    """How many items of the same loop ran before the first; messages count them."""


@dataclass(frozen=True, kw_only=True)
class Files:
    """Where jobs are written down."""

    journal: Journal
    results: Path
    """The directory of the result files."""


@dataclass(frozen=True)
class Start:
    """A job that is about to begin."""

    job: Job
    driver: Driver
    reporter: Reporter
    plan: Plan
    captured: Captured
    deposit: Deposit | None = None


class Launcher:
    """Starts the jobs of one session.

    Parameters
    ----------
    files
        Where they are written down; asked when the first job begins.
    remember
        Called with each job before it begins.
    hand_over
        Has another process run a job, given its id and what writes it down.
    """

    def __init__(
        self,
        drivers: Drivers,
        files: Callable[[], Files],
        remember: Callable[[Job], None],
        hand_over: Callable[[str, Deposit], Job],
    ) -> None:
        self._drivers = drivers
        self._files = files
        self._remember = remember
        self._hand_over = hand_over
        self._index: Index | None = None
        self._raw_environment: dict[Any, Any] | None = None
        self._environment_now: dict[str, str] = {}

    def map(
        self,
        function: Callable[[Any], Any],
        items: Iterable[Any],
        options: JobOptions,
        origin: Origin,
        found: Found | None,
    ) -> Job:
        """Start running `function` over `items`; see `Session.map`."""
        if not hasattr(type(items), "__iter__") and not hasattr(type(items), "__getitem__"):
            raise WrongArgument(
                f"The items must be a list, a range or another iterable, not {kind_of(items)}."
            )
        known = fixed(items)
        if known is None and options.detach:
            known = all_of(items)  # who has them to give may be gone soon
        if options.cache and known is None:
            raise UsageError(
                "With `cache` the items must be at hand, as their results are looked for before the job"
                f" begins: `list(items)` instead of {kind_of(items)}."
            )
        if options.cache and origin.kind != "button":  # whose items watch by themselves
            options = replace(options, guard="warn")
        iterator = iter(items if known is None else known)
        n_items = length_of(items if known is None else known)
        sample = () if known is None else known[:_SAMPLE]
        captured, driver = self._capture(function, options)
        start = self._prepare(function, captured, driver, n_items, options, origin, sample)
        job, plan = start.job, start.plan
        if known is not None:
            shown = getattr(function, "shown_item", None)
            source: SequenceSource | StreamSource = SequenceSource(known, shown, origin.before)
            plan = replace(plan, n_items=len(known))
            if options.cache:
                found = self._with_cache(start, function, origin, found)
            if found is not None:
                runs = found(job.id, captured, known)
                job.prefill(runs)
                job._course.cached = sum(run.stop - run.first for run in runs)
                plan = replace(plan, done=ranges_of(runs))
        else:
            stream = StreamSource(
                iterator,
                lambda ready, ended: driver.supply(job.id, ready, ended),
                lambda error: driver.break_items(job.id, error),
            )
            source = stream
            stream.start()
        start.reporter.give(source)
        if not (JOURNAL_OFF or in_task()):
            deposit = self._deposit(start, source, origin.before)
            start.reporter.left_on_disk = deposit
            if options.detach and not driver.backend.limits.can_outlive:
                return self._hand_over(job.id, deposit)
            if options.detach:
                deposit.write_all()
            else:
                start = replace(start, deposit=deposit)
        self._launch(replace(start, plan=plan))
        return job

    def _with_cache(
        self,
        start: Start,
        function: Callable[[Any], Any],
        origin: Origin,
        found: Found | None,
    ) -> Found:
        """Have results of earlier jobs found, and those of this one kept to be found."""
        from cloudbutton_backend.result_cache import Index, JobCache

        files, job, reporter = self._files(), start.job, start.reporter
        self._index = self._index or Index(files.journal.home)
        cache = JobCache(
            self._index,
            files.results,
            function,
            seed=job.options.seed,
            warn=reporter.warn,
            hold=origin.kind == "button",
        )
        reporter.cache = job.cache = cache

        def find(job_id: str, captured: Captured, items: Sequence[Any]) -> Sequence[Run]:
            others = () if found is None else found(job_id, captured, items)
            return [*others, *cache.find(items, besides=others)]

        return find

    def close(self) -> None:
        """Write what is to be found by later jobs. Safe to repeat."""
        if self._index is not None:
            self._index.close()

    def _deposit(self, start: Start, source: SequenceSource | StreamSource, before: int) -> Deposit:
        """Return what the job is to leave on the disk to be continued."""
        reporter, captured, job = start.reporter, start.captured, start.job
        spec, options = reporter.spec, job.options

        def stored() -> StoredJob:
            used = self._drivers.used.get(options.backend, {})
            # A live object among them (a client, keys) means nothing to another process.
            backend = start.driver.backend
            if isinstance(backend, HasPortableSettings):
                used = backend.lasting_settings(used)
            return StoredJob(
                record=job.record,
                options=options,
                payload=captured.payload,
                blobs=tuple(blob.digest for blob in captured.blobs),
                report=job.explain(),
                imports=captured.imports,
                displays=captured.displays,
                cwd=spec.cwd,
                path=spec.path,
                before=before,
                python=python_version(),
                settings=dict(used),
            )

        return Deposit(
            self._files().journal.home,
            job._course,
            source,
            stored,
            captured.blobs,
            lambda: settings.resolve().attach_max_bytes,
            reporter.warn,
        )

    def open_stream(
        self,
        function: Callable[[Any], Any],
        taken: Callable[[int, Any], Any],
        options: JobOptions,
        sample: Sequence[Any],
    ) -> tuple[Job, PushSource]:
        """Start a job whose items are pushed one by one; see `Session.open_stream`."""
        captured, driver = self._capture(function, options)
        origin = Origin(kind="executor", name=options.name)
        start = self._prepare(function, captured, driver, None, options, origin, sample)
        source = PushSource(taken)
        start.reporter.give(source)
        self._launch(start)
        return start.job, source

    def _estimate(
        self, digest: str, backend: str, memory: int | None, n_items: int | None
    ) -> Estimate | None:
        """Return what a job will cost by earlier runs of its code, where calls have a price."""
        if not n_items or JOURNAL_OFF:
            return None
        return expected_bill(self._files().journal.home, digest, backend, memory, n_items)

    def _capture(
        self, function: Callable[[Any], Any], options: JobOptions
    ) -> tuple[Captured, Driver]:
        """Capture the function while the workers come up."""
        if not callable(function):
            raise WrongArgument(
                f"The first argument must be a function, not {kind_of(function)}: `map(function, items)`."
            )
        check(options)
        driver = self._drivers.of(options.backend)
        driver.start()
        if options.memory is not None and not driver.backend.limits.can_limit_memory:
            raise UsageError(f"The {options.backend} backend cannot limit memory on this system.")
        return capture(function, threshold=options.threshold_bytes), driver

    def _prepare(
        self,
        function: Callable[[Any], Any],
        captured: Captured,
        driver: Driver,
        n_items: int | None,
        options: JobOptions,
        origin: Origin,
        sample: Sequence[Any],
    ) -> Start:
        if in_task() and options.workers is not None:
            options = replace(options, workers=1)
        files, limits = self._files(), driver.backend.limits
        record = JobRecord(
            id=new_job_id(),
            name=origin.name
            or options.name
            or str(getattr(function, "__name__", type(function).__name__)),
            kind=origin.kind,
            backend=driver.recorded_as,
            n_items=n_items,
            created=time.time(),
            pid=os.getpid(),
            host=socket.gethostname(),
            notebook=origin.notebook,
            cell_id=origin.cell_id,
            source=origin.source,
            code_digest=captured.digest,
            seed=drawn_seed() if options.seed is None else options.seed,
            options=plain(options),
            worker_memory=options.memory or limits.memory,
        )
        bill = None
        if limits.rate is not None:
            memory = record.worker_memory
            estimate = self._estimate(captured.digest, record.backend, memory, n_items)
            bill = Bill(record.id, files.journal, limits, options.workers, estimate, memory)
            if estimate is not None:
                record = replace(record, **estimate_columns(estimate))
        prefix = files.results / record.id
        spec = JobSpec(
            id=record.id,
            payload=captured.payload,
            blobs=captured.blobs,
            seed=record.seed,
            guard=options.guard,
            timeout=options.timeout,
            memory=options.memory,
            results=str(prefix),
            cwd=cwd(),
            environment=self.environment(),
            path=tuple(sys.path),
            displays=captured.displays,
            extra={
                **extra_of(options),
                # Only backends that bring packages along ask; finding them out takes its time.
                "packages": lambda: {*captured.imports, *imports_of_items(sample)},
            },
        )
        driver.prepare(spec)
        del spec.extra["packages"]  # it holds items, which are let go of when they have results
        recorder = Recorder(
            record.id, files.journal, None if JOURNAL_OFF else prefix, origin.before
        )
        alive = partial(check_alive, driver, record)
        course = Course(record, options, recorder, bill, alive, origin.before)
        outlook = None
        if bill is None:
            outlook = Outlook(record.id, files.journal, limits.batch_seconds)
        allowance = None if JOURNAL_OFF else allowance_of(files.journal.home, record.id, limits)
        reporter = Reporter(
            course, recorder, bill, files.journal, spec, captured.classes, outlook, allowance
        )
        job = Job(course, Driven(driver, reporter), lambda: _report(captured, reporter))
        if limits.rate is not None and limits.rate.note:
            reporter.warn(limits.rate.note)
        plan = replace(plan_of(record.id, options, limits), by_day=allowance is not None)
        return Start(job, driver, reporter, plan, captured)

    def environment(self) -> dict[str, str]:
        """Return this process's environment; the same object as long as it has not changed."""
        raw = getattr(os.environ, "_data", None)  # comparing it needs no decoding
        if raw is None or raw != self._raw_environment:
            self._raw_environment = dict(raw or {})
            self._environment_now = dict(os.environ)
        return self._environment_now

    def _launch(self, start: Start) -> None:
        job, journal = start.job, self._files().journal
        self._remember(job)
        journal.add_job(job.record, start.deposit)
        try:
            start.driver.open(start.reporter.spec, start.plan, start.reporter)
        except BaseException:  # interrupted: nobody holds this job yet
            start.driver.cancel(job.id)
            raise
        # Once the job is on its way, put together the report of what was captured.
        journal.update_job(job.id, capture=lambda: job.explain().to_dict())


def _report(captured: Captured, reporter: Reporter) -> CaptureReport:
    """Return what travels, and what keys in the cache are made of."""
    made_of = None if reporter.cache is None else reporter.cache.ingredients
    if made_of is None:
        return captured.report
    return replace(captured.report, cache=tuple(made_of.lines()))
