"""One session per process: its backends, its journal and its jobs."""

from __future__ import annotations

import atexit
import contextlib
import itertools
import os
import socket
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Literal

from cloudbutton_backend import settings
from cloudbutton_backend.backends import registry, written
from cloudbutton_backend.backends.protocol import JobSpec
from cloudbutton_backend.bill import Bill, estimate_from_journal
from cloudbutton_backend.capture import Captured, capture, imports_of_items
from cloudbutton_backend.dispatch.driver import Driver
from cloudbutton_backend.dispatch.job_state import Plan
from cloudbutton_backend.dispatch.source import PushSource, SequenceSource, StreamSource, fixed
from cloudbutton_backend.drivers import Drivers, in_task
from cloudbutton_backend.errors import CloudError, UnknownName, UsageError, WrongArgument
from cloudbutton_backend.handle import Job, check_budget
from cloudbutton_backend.home import results_dir
from cloudbutton_backend.jobs import Estimate, JobOptions, JobRecord, JobState, new_job_id
from cloudbutton_backend.journal import Command, Journal, gc
from cloudbutton_backend.runs import Run, ranges_of

_REMEMBER: Final = 100
"""Ended jobs that can still be found by id in this process."""

_AT_ONCE: Final = 3600.0
"""Seconds of work in one batch of a detached job where a call may run for any time."""
_SAMPLE: Final = 3
"""Items that are looked at for the packages they need."""

_CLEAN_AFTER: Final = 10.0
"""Seconds after the first job when old results are removed."""
_JOURNAL_OFF: Final = os.environ.get("CLOUDBUTTON_INTERNAL_JOURNAL") == "off"
"""For measuring what the journal costs; nothing is written then."""

Kind = Literal["map", "run", "submit", "executor", "button", "map_reduce"]

Found = Callable[[str, Captured, Sequence[Any]], Sequence[Run]]
"""Asked with a job's id, its function and its items: disjoint runs of those with results, none failed."""


class Session:
    """Starts jobs, and finds them again.

    Parameters
    ----------
    home
        Where the journal and results are kept; None for the user's.
    """

    def __init__(self, home: Path | None = None) -> None:
        self._home = home
        self._lock = threading.RLock()
        self._drivers = Drivers()
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._journal: Journal | None = None
        self._results: Path | None = None
        self._warmed: set[str] = set()
        self._raw_environment: dict[Any, Any] | None = None
        self._environment_now: dict[str, str] = {}
        self._closed = False

    def __repr__(self) -> str:
        running = sum(not job.state.is_final for job in self._jobs.values())
        return f"<Session: {running} of {len(self._jobs)} jobs running>"

    # -- where things run

    @property
    def journal(self) -> Journal:
        """The journal of this process."""
        with self._lock:
            if self._journal is None:
                self._journal = Journal.open(self._home)
                self._journal.on_command(self._obey)
                self._results = results_dir(self._home)
                if _JOURNAL_OFF:
                    self._journal.close()
                else:
                    threading.Thread(target=self._clean, name="cloudbutton-gc", daemon=True).start()
            return self._journal

    def _clean(self) -> None:
        """Keep the results on disk within their bounds, once per process and out of the way."""
        threading.Event().wait(_CLEAN_AFTER)
        with contextlib.suppress(CloudError, OSError):  # the next process tries again
            bounds = settings.resolve()
            gc(self.journal.home, bounds.results_max_bytes, bounds.results_max_age)

    def backends(self) -> tuple[str, ...]:
        """Return the names of the backends that can be used."""
        return registry.names()

    def use(self, name: str, **backend_settings: Any) -> None:
        """Make a backend the default of this process, with settings of its own.

        Raises
        ------
        UsageError
            If there is no such backend, or a setting of it makes no sense; nothing is changed then.
        """
        self._drivers.use(name, **backend_settings)
        settings.use(backend=name)

    def all_settings(self) -> list[settings.Row]:
        """Return every setting, backends' own that are set among them, and where each comes from."""
        return written.describe(self._drivers.used)

    def driver(self, name: str) -> Driver:
        """Return the driver of a backend, which is started when it is first used."""
        return self._drivers.of(name)

    def warm_up(self, name: str | None = None, timeout: float | None = 0.0) -> bool:
        """Bring the workers up, in the background or waiting up to `timeout` seconds.

        Returns
        -------
        bool
            Whether all of them are up.
        """
        driver = self.driver(name or settings.resolve().backend)
        driver.start()
        limit = time.monotonic() + (0.0 if timeout is None else timeout)
        wanted = driver.backend.limits.workers
        pause = threading.Event()
        while driver.workers_up < wanted:
            if (timeout is not None and time.monotonic() >= limit) or not driver.is_alive:
                return False
            pause.wait(0.002)
        return True

    def warm_imports(self, modules: Iterable[str]) -> None:
        """Have idle workers import `modules` in the background."""
        fresh = [name for name in modules if name not in self._warmed]
        self._warmed.update(fresh)
        for driver in self._drivers.all():
            if fresh and driver.is_alive:
                driver.warm(fresh)

    # -- jobs

    def map(
        self,
        function: Callable[[Any], Any],
        items: Iterable[Any],
        *,
        options: JobOptions | None = None,
        kind: Kind = "map",
        name: str | None = None,
        source: str | None = None,
        notebook: str | None = None,
        cell_id: str | None = None,
        before: int = 0,
        found: Found | None = None,
    ) -> Job:
        """Start running `function` over `items`; return at once.

        Messages number the items from `before` on: of a loop, so many ran already. `found` gives
        the results that are known beforehand, where all items are at hand: those items are not run.

        Raises
        ------
        CaptureError
            If the function or a value it uses cannot travel; nothing was started.
        UsageError
            If an option makes no sense.
        """
        if not hasattr(type(items), "__iter__") and not hasattr(type(items), "__getitem__"):
            raise WrongArgument(
                f"The items must be a list, a range or another iterable, not {_kind(items)}."
            )
        known = fixed(items)
        iterator = iter(items if known is None else known)
        n_items = _length(items if known is None else known)
        job, driver, spec, plan = self._prepare(
            function,
            n_items,
            options or JobOptions(),
            kind,
            name,
            source,
            notebook,
            cell_id,
            sample=() if known is None else known[:_SAMPLE],
            before=before,
        )
        if known is not None:
            job.source = SequenceSource(known, getattr(function, "shown_item", None), before)
            plan = self._plan(job, len(known))
            if found is not None and job._captured is not None:
                runs = found(job.id, job._captured, known)
                job.prefill(runs)
                plan = replace(plan, done=ranges_of(runs))
        else:
            stream = StreamSource(
                iterator,
                lambda ready, ended: driver.supply(job.id, ready, ended),
                lambda error: driver.break_items(job.id, error),
            )
            job.source = stream
            stream.start()
        self._launch(job, driver, spec, plan)
        return job

    def open_stream(
        self,
        function: Callable[[Any], Any],
        taken: Callable[[int, Any], Any],
        options: JobOptions,
        sample: Sequence[Any] = (),
    ) -> tuple[Job, PushSource]:
        """Start a job whose items are pushed one by one, as an executor's calls are.

        Items like those of `sample` tell which packages workers need, where those are brought along.
        """
        job, driver, spec, plan = self._prepare(
            function, None, options, "executor", options.name, None, None, None, sample
        )
        job.source = source = PushSource(taken)
        self._launch(job, driver, spec, plan)
        return job, source

    def supply(self, job: Job, ready: int, ended: bool) -> None:
        """Items of a pushed job are at hand."""
        job._driver.supply(job.id, ready, ended)

    def _prepare(
        self,
        function: Callable[[Any], Any],
        n_items: int | None,
        options: JobOptions,
        kind: Kind,
        name: str | None,
        source: str | None,
        notebook: str | None,
        cell_id: str | None,
        sample: Sequence[Any] = (),
        before: int = 0,
    ) -> tuple[Job, Driver, JobSpec, Plan]:
        if self._closed:
            raise UsageError("This session was closed; start a new one.")
        if not callable(function):
            raise WrongArgument(
                f"The first argument must be a function, not {_kind(function)}: `map(function, items)`."
            )
        _check(options)
        if in_task() and options.workers is not None:
            options = replace(options, workers=1)
        driver = self.driver(options.backend)
        driver.start()  # its workers come up while the function is captured
        if options.memory is not None and not driver.backend.limits.can_limit_memory:
            raise UsageError(f"The {options.backend} backend cannot limit memory on this system.")
        captured = capture(function, threshold=options.threshold_bytes)
        journal = self.journal
        assert self._results is not None
        seed = (
            options.seed
            if options.seed is not None
            else int.from_bytes(os.urandom(8), "little") >> 1
        )
        record = JobRecord(
            id=new_job_id(),
            name=name
            or options.name
            or str(getattr(function, "__name__", type(function).__name__)),
            kind=kind,
            backend=driver.recorded_as,
            n_items=n_items,
            created=time.time(),
            pid=os.getpid(),
            host=socket.gethostname(),
            notebook=notebook,
            cell_id=cell_id,
            source=source,
            code_digest=captured.digest,
            seed=seed,
            options=_plain_options(options),
        )
        prefix = self._results / record.id
        limits = driver.backend.limits
        bill = None
        if limits.rate is not None:
            estimate = self._estimate(captured.digest, record.backend, n_items)
            bill = Bill(record.id, journal, limits, options.workers, estimate)
            if estimate is not None:
                record = replace(
                    record,
                    estimate=estimate.expected,
                    estimate_low=estimate.low,
                    estimate_high=estimate.high,
                )
        results = None if _JOURNAL_OFF else prefix
        job = Job(record, options, captured, driver, journal, results, bill, before)
        if limits.rate is not None and limits.rate.note:
            job.warn(limits.rate.note)
        spec = JobSpec(
            id=record.id,
            payload=captured.payload,
            blobs=captured.blobs,
            seed=seed,
            guard=options.guard,
            timeout=options.timeout,
            memory=options.memory,
            results=str(prefix),
            cwd=_cwd(),
            environment=self._environment(),
            path=tuple(sys.path),
            displays=captured.displays,
            extra={
                "stop_on_error": options.errors == "raise" and options.retries == 0,
                "detach": options.detach,
                "budget": options.budget is not None,
                # Only backends that bring packages along ask; finding them out takes its time.
                "packages": lambda: {*captured.imports, *imports_of_items(sample)},
            },
        )
        driver.prepare(spec)
        del spec.extra["packages"]  # it holds items, which are let go of when they have results
        job._spec = spec
        return job, driver, spec, self._plan(job, None)

    def _estimate(self, digest: str, backend: str, n_items: int | None) -> Estimate | None:
        """Return what a job will cost by earlier runs of its code, where calls have a price."""
        if not n_items or _JOURNAL_OFF:
            return None
        return estimate_from_journal(self.journal, digest, backend, n_items)

    def estimate(
        self, function: Callable[[Any], Any], n_items: int | None, options: JobOptions
    ) -> Estimate | None:
        """Return what running `function` over so many items will cost, by earlier runs of it.

        None where work is free, and where this code has not run on the backend before.

        Raises
        ------
        CaptureError
            If the function or a value it uses cannot travel.
        """
        driver = self.driver(options.backend)
        if driver.backend.limits.rate is None:
            return None
        captured = capture(function, threshold=options.threshold_bytes)
        return self._estimate(captured.digest, driver.recorded_as, n_items)

    def _environment(self) -> dict[str, str]:
        """Return this process's environment; the same object as long as it has not changed."""
        raw = getattr(os.environ, "_data", None)  # comparing it needs no decoding
        if raw is None or raw != self._raw_environment:
            self._raw_environment = dict(raw or {})
            self._environment_now = dict(os.environ)
        return self._environment_now

    def _plan(self, job: Job, n_items: int | None) -> Plan:
        options = job.options
        return Plan(
            job_id=job.id,
            n_items=n_items,
            workers=options.workers,
            retries=options.retries,
            stop_on_error=options.errors == "raise",
            backup=options.backup,
            budget=options.budget,
            at_once=_at_once(job),
        )

    def _launch(self, job: Job, driver: Driver, spec: JobSpec, plan: Plan) -> None:
        with self._lock:
            self._jobs[job.id] = job
            self._forget_old()
        self.journal.add_job(job.record)
        try:
            driver.open(spec, plan, job)
        except BaseException:  # interrupted: nobody holds this job yet
            driver.cancel(job.id)
            raise
        # Once the job is on its way, put together the report of what was captured.
        self.journal.update_job(job.id, capture=lambda: job.explain().to_dict())

    def _forget_old(self) -> None:
        """Let go of the oldest jobs that have ended, when there are more than can be remembered."""
        surplus = len(self._jobs) - _REMEMBER
        for job in list(itertools.islice(self._jobs.values(), max(0, surplus))):
            if job.state.is_final:
                del self._jobs[job.id]
                if job.state is JobState.DONE:  # what failed may still be retried by who holds it
                    job._driver.forget(job.id)

    def jobs(self) -> list[Job]:
        """Return the jobs of this process, newest first."""
        with self._lock:
            return list(reversed(self._jobs.values()))

    def job(self, id_or_prefix: str) -> Job:
        """Return a job of this process.

        Raises
        ------
        UnknownName
            If no job has an id that starts like this.
        UsageError
            If more than one has.
        """
        with self._lock:
            if id_or_prefix in self._jobs:
                return self._jobs[id_or_prefix]
            found = [job_id for job_id in self._jobs if job_id.startswith(id_or_prefix)]
            if len(found) > 1 and id_or_prefix:
                raise UsageError(f"`{id_or_prefix}` could be job {', '.join(reversed(found))}.")
            if not found or not id_or_prefix:
                raise UnknownName("job", id_or_prefix, tuple(reversed(self._jobs)))
            return self._jobs[found[0]]

    def _obey(self, command: Command) -> None:
        """Carry out a command that came through the journal."""
        with self._lock:
            job = self._jobs.get(command.job_id)
        if job is None:
            return
        if command.verb == "cancel":
            job.cancel()
        elif command.verb == "retry":
            try:
                job.retry_failed(budget=command.args.get("budget"))
            except UsageError as error:
                self.journal.update_job(job.id, warnings=[str(error)])

    def close(self) -> None:
        """Cancel what runs, but for what can go on elsewhere, and end all workers. Safe to repeat."""
        with self._lock:
            self._closed = True
            jobs = [
                job
                for job in self._jobs.values()
                if not job.state.is_final
                and not (job.options.detach and job._driver.backend.limits.can_outlive)
            ]
        for job in jobs:
            job.cancel()
        for job in jobs:
            try:
                job.wait(1.0)
            except Exception:  # its driver is gone already
                continue
        self._drivers.close()
        if self._journal is not None:
            self._journal.close()


def _length(items: Any) -> int | None:
    """Return how many items there are, None where that is not known or not said."""
    try:
        return len(items)
    except (TypeError, NotImplementedError, OverflowError):
        return None


def _at_once(job: Job) -> float | None:
    """Return the work in one batch of a job that goes on when this process ends; None for others."""
    limits = job._driver.backend.limits
    if not (job.options.detach and limits.can_outlive):
        return None
    return _AT_ONCE if limits.longest_call is None else limits.longest_call / 2


def _kind(value: Any) -> str:
    name = type(value).__name__
    return f"an {name}" if name[:1] in "aeiou" else f"a {name}"


def _check(options: JobOptions) -> None:
    """Refuse options that make no sense, before anything is started."""
    if options.workers is not None and options.workers < 1:
        raise UsageError(f"`workers` must be at least 1, not {options.workers}.")
    if options.timeout is not None and options.timeout <= 0:
        raise UsageError(f"`timeout` must be above 0 seconds, not {options.timeout:g}.")
    if options.retries < 0:
        raise UsageError(f"`retries` must be 0 or more, not {options.retries}.")
    if options.errors not in ("raise", "keep"):
        raise UnknownName("error mode", str(options.errors), ("raise", "keep"))
    check_budget(options.budget)
    if options.seed is not None and options.seed < 0:
        raise UsageError(f"`seed` must be 0 or more, not {options.seed}.")
    if options.memory is not None and options.memory < 1:
        raise UsageError(f"`memory` must be at least 1 MiB, not {options.memory}.")


def _plain_options(options: JobOptions) -> dict[str, Any]:
    return {name: getattr(options, name) for name in options.__dataclass_fields__}


def _cwd() -> str:
    try:
        return os.getcwd()
    except OSError:  # the directory was removed
        return os.path.expanduser("~")


_current: Session | None = None
_lock = threading.Lock()


def current() -> Session:
    """Return this process's session; the first call makes it."""
    global _current
    with _lock:
        if _current is None or _current._closed:
            _current = Session()
        return _current


@atexit.register
def _close_at_exit() -> None:
    if _current is not None:
        _current.close()


def _after_fork() -> None:
    """A forked child has no driver thread: its first job makes a session of its own."""
    global _current, _lock
    _current, _lock = None, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
