"""Launches jobs from a function and its items."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal

from cloudbutton_backend import settings
from cloudbutton_backend.accounting.history import expected_bill
from cloudbutton_backend.accounting.job_cost import estimate_columns
from cloudbutton_backend.backends.capabilities import HasPortableSettings
from cloudbutton_backend.capture import Captured, CaptureReport, capture, imports_of_items
from cloudbutton_backend.dispatch.driver import Driver
from cloudbutton_backend.dispatch.item_source import PushSource, SequenceSource, StreamSource, fixed
from cloudbutton_backend.dispatch.job_state import DispatchPlan
from cloudbutton_backend.durable.job_file import JobFile, python_version
from cloudbutton_backend.errors import UsageError, WrongArgument
from cloudbutton_backend.job.job import Job
from cloudbutton_backend.job.listener import JobListener
from cloudbutton_backend.job_model import JobOptions, JobRecord, new_job_id
from cloudbutton_backend.results.result_ranges import ResultRange, ranges_of
from cloudbutton_backend.session.checkpoint import Checkpoint
from cloudbutton_backend.session.job_builder import (
    JOURNAL_OFF,
    JobBuilder,
    JobDefinition,
    PreparedJob,
)
from cloudbutton_backend.session.job_plan import (
    all_of,
    check,
    cwd,
    drawn_seed,
    kind_of,
    length_of,
    plain,
)
from cloudbutton_backend.worker.context import in_task
from cloudbutton_backend.worker.process_state import with_state

if TYPE_CHECKING:
    from cloudbutton_backend.result_cache import CacheIndex

_SAMPLE: Final = 3
"""Items that are looked at for the packages they need."""
Kind = Literal["map", "run", "submit", "executor", "button", "map_reduce"]

Found = Callable[[str, Captured, Sequence[Any]], Sequence[ResultRange]]
"""Asked with a job's id, its function and its items: disjoint runs of those with results, none failed."""


@dataclass(frozen=True, kw_only=True)
class JobSource:
    """The source of a job: where it was started, and its name."""

    kind: Kind = "map"
    name: str | None = None
    source: str | None = None
    """The cell or the function, as the user wrote it."""
    notebook: str | None = None
    cell_id: str | None = None
    before: int = 0
    """How many items of the same loop ran before the first; messages count them."""
    keyed: Callable[[Any], Any] | None = None
    """What tells the function from others in the cache, if not all of it can decide its results."""


class Launcher:
    """Starts the jobs of one session.

    Parameters
    ----------
    hand_over
        Has another process run a job, given its id and what writes it down.
    """

    def __init__(self, builder: JobBuilder, hand_over: Callable[[str, Checkpoint], Job]) -> None:
        self._builder = builder
        self._hand_over = hand_over
        self._index: CacheIndex | None = None

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
            known = all_of(items)  # their source may be gone soon
        if options.cache and known is None:
            raise UsageError(
                "With `cache` the items must be available, as their results are looked up before the job"
                f" begins: `list(items)` instead of {kind_of(items)}."
            )
        if options.cache and origin.kind != "button":  # whose items watch by themselves
            options = replace(options, guard="warn")
        iterator = iter(items if known is None else known)
        n_items = length_of(items if known is None else known)
        sample = () if known is None else known[:_SAMPLE]
        captured, driver = self._capture(function, options)
        definition = self._define(function, captured, driver, n_items, options, origin, sample)
        start = self._build(definition, captured)
        job, listener, plan = start.job, start.listener, start.plan
        if known is not None:
            shown = getattr(function, "shown_item", None)
            source: SequenceSource | StreamSource = SequenceSource(known, shown, origin.before)
            plan = replace(plan, n_items=len(known))
            if options.cache:
                found = self._with_cache(start, origin.keyed or function, origin, found)
            if found is not None:
                runs = found(job.id, captured, known)
                job.prefill(runs)
                start.run_state.cached = sum(run.stop - run.first for run in runs)
                plan = replace(plan, done=ranges_of(runs))
        else:
            stream = StreamSource(
                iterator,
                lambda ready, ended: driver.supply(job.id, ready, ended),
                lambda error: driver.break_items(job.id, error),
            )
            source = stream
            stream.start()
        listener.give(source)
        checkpoint = None
        if not (JOURNAL_OFF or in_task()):
            checkpoint = listener.left_on_disk = self._checkpoint(start, captured, source)
            if options.detach and not driver.backend.limits.can_outlive:
                return self._hand_over(job.id, checkpoint)
            if options.detach:
                checkpoint.write_all()
        self._launch(start, plan, None if options.detach else checkpoint)
        return job

    def _with_cache(
        self,
        start: PreparedJob,
        function: Callable[[Any], Any],
        origin: JobSource,
        found: Found | None,
    ) -> Found:
        """Look up results of earlier jobs in the cache, and add those of this one."""
        from cloudbutton_backend.result_cache import CacheIndex, JobCache

        files, job, listener = self._builder.files(), start.job, start.listener
        self._index = self._index or CacheIndex(files.journal.home)
        listener.cache = job.cache = cache = JobCache(
            self._index,
            files.results,
            with_state(function),
            seed=job.options.seed,
            warn=listener.warn,
            hold=origin.kind == "button",
        )

        def find(job_id: str, captured: Captured, items: Sequence[Any]) -> Sequence[ResultRange]:
            others = () if found is None else found(job_id, captured, items)
            return [*others, *cache.find(items, but=others)]

        return find

    def close(self) -> None:
        """Write the entries for later jobs. Safe to repeat."""
        if self._index is not None:
            self._index.close()

    def _checkpoint(
        self, start: PreparedJob, captured: Captured, source: SequenceSource | StreamSource
    ) -> Checkpoint:
        """Return what the job is to leave on the disk to be continued."""
        job, definition, driver = start.job, start.definition, start.definition.driver

        def stored() -> JobFile:
            used = self._builder.drivers.used.get(job.options.backend, {})
            # A live object among them (a client, keys) means nothing to another process.
            if isinstance(driver.backend, HasPortableSettings):
                used = driver.backend.lasting_settings(used)
            return JobFile(
                record=job.record,
                options=job.options,
                payload=captured.payload,
                blobs=tuple(blob.digest for blob in captured.blobs),
                report=job.explain(),
                imports=captured.imports,
                displays=captured.displays,
                cwd=definition.cwd,
                path=definition.path,
                before=definition.before,
                python=python_version(),
                settings=dict(used),
            )

        return Checkpoint(
            self._builder.files().journal.home,
            start.run_state,
            source,
            stored,
            captured.blobs,
            lambda: settings.resolve().attach_max_bytes,
            start.listener.warn,
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
        definition = self._define(function, captured, driver, None, options, origin, sample)
        start = self._build(definition, captured)
        source = PushSource(taken)
        start.listener.give(source)
        self._launch(start, start.plan)
        return start.job, source

    def _capture(
        self, function: Callable[[Any], Any], options: JobOptions
    ) -> tuple[Captured, Driver]:
        """Capture the function while the workers come up."""
        if not callable(function):
            raise WrongArgument(
                f"The first argument must be a function, not {kind_of(function)}: `map(function, items)`."
            )
        check(options)
        driver = self._builder.drivers.of(options.backend)
        driver.start()
        if options.memory is not None and not driver.backend.limits.can_limit_memory:
            raise UsageError(f"The {options.backend} backend cannot limit memory on this system.")
        return capture(function, threshold=options.threshold_bytes), driver

    def _define(
        self,
        function: Callable[[Any], Any],
        captured: Captured,
        driver: Driver,
        n_items: int | None,
        options: JobOptions,
        origin: JobSource,
        sample: Sequence[Any],
    ) -> JobDefinition:
        """Return the parts of a new job."""
        if in_task() and options.workers is not None:
            options = replace(options, workers=1)
        limits = driver.backend.limits
        name = origin.name or options.name
        record = JobRecord(
            id=new_job_id(),
            name=name or str(getattr(function, "__name__", type(function).__name__)),
            kind=origin.kind,
            backend=driver.identity.name,
            emulated=driver.identity.emulated,
            on_this_machine=limits.is_this_machine,
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
        if limits.rate is not None and n_items and not JOURNAL_OFF:
            home, memory = self._builder.files().journal.home, record.worker_memory
            estimate = expected_bill(home, captured.digest, record.ran_on, memory, n_items)
            if estimate is not None:
                record = replace(record, **estimate_columns(estimate))
        return JobDefinition(
            record=record,
            options=options,
            driver=driver,
            payload=captured.payload,
            blobs=captured.blobs,
            displays=captured.displays,
            cwd=cwd(),
            path=tuple(sys.path),
            packages=lambda: {*captured.imports, *imports_of_items(sample)},
            known_classes=captured.classes,
            before=origin.before,
        )

    def _build(self, definition: JobDefinition, captured: Captured) -> PreparedJob:
        results = self._builder.files().results / definition.record.id
        spec = self._builder.prepare(definition, results)
        return self._builder.build(definition, spec, partial(_report, captured))

    def _launch(
        self, start: PreparedJob, plan: DispatchPlan, checkpoint: Checkpoint | None = None
    ) -> None:
        job, journal = start.job, self._builder.files().journal
        driver = start.definition.driver
        self._builder.remember(job)
        journal.add_job(job.record, checkpoint)
        try:
            driver.open(start.spec, plan, start.listener)
        except BaseException:  # interrupted: the caller does not hold this job yet
            driver.cancel(job.id)
            raise
        # Once the job is on its way, put together the report of what was captured.
        journal.update_job(job.id, capture=lambda: job.explain().to_dict())


def _report(captured: Captured, listener: JobListener) -> CaptureReport:
    """Return what travels, and the ingredients of keys in the cache."""
    made_of = None if listener.cache is None else listener.cache.ingredients
    if made_of is None:
        return captured.report
    return replace(captured.report, cache=tuple(made_of.lines()))
