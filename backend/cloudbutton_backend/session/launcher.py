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
from cloudbutton_backend.accounting.eta import EtaEstimate
from cloudbutton_backend.accounting.history import expected_bill
from cloudbutton_backend.accounting.job_cost import JobCost, estimate_columns
from cloudbutton_backend.backends.capabilities import HasPortableSettings
from cloudbutton_backend.backends.protocol import JobSpec
from cloudbutton_backend.capture import Captured, CaptureReport, capture, imports_of_items
from cloudbutton_backend.dispatch.driver import Driver
from cloudbutton_backend.dispatch.item_source import PushSource, SequenceSource, StreamSource, fixed
from cloudbutton_backend.dispatch.job_state import DispatchPlan
from cloudbutton_backend.durable.job_file import JobFile, python_version
from cloudbutton_backend.errors import UsageError, WrongArgument
from cloudbutton_backend.job.job import Job
from cloudbutton_backend.job.listener import JobListener, LocalRunner, check_alive
from cloudbutton_backend.job.recorder import JobRecorder
from cloudbutton_backend.job.run_state import RunState
from cloudbutton_backend.job_model import Estimate, JobOptions, JobRecord, new_job_id
from cloudbutton_backend.journal import Journal
from cloudbutton_backend.results.result_ranges import ResultRange, ranges_of
from cloudbutton_backend.session.checkpoint import Checkpoint
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
    from cloudbutton_backend.result_cache import CacheIndex

_SAMPLE: Final = 3
"""Items that are looked at for the packages they need."""
JOURNAL_OFF: Final = os.environ.get("CLOUDBUTTON_INTERNAL_JOURNAL") == "off"
"""For measuring what the journal costs; nothing is written then."""

Kind = Literal["map", "run", "submit", "executor", "button", "map_reduce"]

Found = Callable[[str, Captured, Sequence[Any]], Sequence[ResultRange]]
"""Asked with a job's id, its function and its items: disjoint runs of those with results, none failed."""


@dataclass(frozen=True, kw_only=True)
class JobSource:
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
class JobFiles:
    """Where jobs are written down."""

    journal: Journal
    results: Path
    """The directory of the result files."""


@dataclass(frozen=True)
class PreparedJob:
    """A job that is about to begin."""

    job: Job
    driver: Driver
    reporter: JobListener
    plan: DispatchPlan
    captured: Captured
    checkpoint: Checkpoint | None = None


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
        files: Callable[[], JobFiles],
        remember: Callable[[Job], None],
        hand_over: Callable[[str, Checkpoint], Job],
    ) -> None:
        self._drivers = drivers
        self._files = files
        self._remember = remember
        self._hand_over = hand_over
        self._index: CacheIndex | None = None
        self._raw_environment: dict[Any, Any] | None = None
        self._environment_now: dict[str, str] = {}

    def map(
        self,
        function: Callable[[Any], Any],
        items: Iterable[Any],
        options: JobOptions,
        origin: JobSource,
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
                job._run_state.cached = sum(run.stop - run.first for run in runs)
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
            checkpoint = self._checkpoint(start, source, origin.before)
            start.reporter.left_on_disk = checkpoint
            if options.detach and not driver.backend.limits.can_outlive:
                return self._hand_over(job.id, checkpoint)
            if options.detach:
                checkpoint.write_all()
            else:
                start = replace(start, checkpoint=checkpoint)
        self._launch(replace(start, plan=plan))
        return job

    def _with_cache(
        self,
        start: PreparedJob,
        function: Callable[[Any], Any],
        origin: JobSource,
        found: Found | None,
    ) -> Found:
        """Have results of earlier jobs found, and those of this one kept to be found."""
        from cloudbutton_backend.result_cache import CacheIndex, JobCache

        files, job, reporter = self._files(), start.job, start.reporter
        self._index = self._index or CacheIndex(files.journal.home)
        cache = JobCache(
            self._index,
            files.results,
            function,
            seed=job.options.seed,
            warn=reporter.warn,
            hold=origin.kind == "button",
        )
        reporter.cache = job.cache = cache

        def find(job_id: str, captured: Captured, items: Sequence[Any]) -> Sequence[ResultRange]:
            others = () if found is None else found(job_id, captured, items)
            return [*others, *cache.find(items, besides=others)]

        return find

    def close(self) -> None:
        """Write what is to be found by later jobs. Safe to repeat."""
        if self._index is not None:
            self._index.close()

    def _checkpoint(
        self, start: PreparedJob, source: SequenceSource | StreamSource, before: int
    ) -> Checkpoint:
        """Return what the job is to leave on the disk to be continued."""
        reporter, captured, job = start.reporter, start.captured, start.job
        spec, options = reporter.spec, job.options

        def stored() -> JobFile:
            used = self._drivers.used.get(options.backend, {})
            # A live object among them (a client, keys) means nothing to another process.
            backend = start.driver.backend
            if isinstance(backend, HasPortableSettings):
                used = backend.lasting_settings(used)
            return JobFile(
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

        return Checkpoint(
            self._files().journal.home,
            job._run_state,
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
        origin = JobSource(kind="executor", name=options.name)
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
        origin: JobSource,
        sample: Sequence[Any],
    ) -> PreparedJob:
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
        job_cost = None
        if limits.rate is not None:
            memory = record.worker_memory
            estimate = self._estimate(captured.digest, record.backend, memory, n_items)
            job_cost = JobCost(record.id, files.journal, limits, options.workers, estimate, memory)
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
        recorder = JobRecorder(
            record.id, files.journal, None if JOURNAL_OFF else prefix, origin.before
        )
        alive = partial(check_alive, driver, record)
        run_state = RunState(record, options, recorder, job_cost, alive, origin.before)
        eta = None
        if job_cost is None:
            eta = EtaEstimate(record.id, files.journal, limits.batch_seconds)
        daily_grant = None if JOURNAL_OFF else allowance_of(files.journal.home, record.id, limits)
        reporter = JobListener(
            run_state, recorder, job_cost, files.journal, spec, captured.classes, eta, daily_grant
        )
        job = Job(run_state, LocalRunner(driver, reporter), lambda: _report(captured, reporter))
        if limits.rate is not None and limits.rate.note:
            reporter.warn(limits.rate.note)
        plan = replace(plan_of(record.id, options, limits), by_day=daily_grant is not None)
        return PreparedJob(job, driver, reporter, plan, captured)

    def environment(self) -> dict[str, str]:
        """Return this process's environment; the same object as long as it has not changed."""
        raw = getattr(os.environ, "_data", None)  # comparing it needs no decoding
        if raw is None or raw != self._raw_environment:
            self._raw_environment = dict(raw or {})
            self._environment_now = dict(os.environ)
        return self._environment_now

    def _launch(self, start: PreparedJob) -> None:
        job, journal = start.job, self._files().journal
        self._remember(job)
        journal.add_job(job.record, start.checkpoint)
        try:
            start.driver.open(start.reporter.spec, start.plan, start.reporter)
        except BaseException:  # interrupted: nobody holds this job yet
            start.driver.cancel(job.id)
            raise
        # Once the job is on its way, put together the report of what was captured.
        journal.update_job(job.id, capture=lambda: job.explain().to_dict())


def _report(captured: Captured, reporter: JobListener) -> CaptureReport:
    """Return what travels, and what keys in the cache are made of."""
    made_of = None if reporter.cache is None else reporter.cache.ingredients
    if made_of is None:
        return captured.report
    return replace(captured.report, cache=tuple(made_of.lines()))
