"""One session per process: its backends, its journal and its jobs."""

from __future__ import annotations

import atexit
import contextlib
import itertools
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from cloudbutton_backend import settings
from cloudbutton_backend.backends import registry, settings_in_files
from cloudbutton_backend.backends.protocol import Backend
from cloudbutton_backend.dispatch.driver import Driver
from cloudbutton_backend.dispatch.item_source import PushSource
from cloudbutton_backend.errors import CloudError, UnknownName, UsageError
from cloudbutton_backend.job.job import Job, runner_of
from cloudbutton_backend.job.listener import LocalRunner
from cloudbutton_backend.job_model import JobOptions, JobState
from cloudbutton_backend.journal import JobCommand, Journal, JournalReader
from cloudbutton_backend.journal.ownership import OwnershipLost
from cloudbutton_backend.session.attach import Attacher
from cloudbutton_backend.session.cleanup import clean_up
from cloudbutton_backend.session.drivers import Drivers
from cloudbutton_backend.session.job_builder import JOURNAL_OFF, JobBuilder, JobFiles
from cloudbutton_backend.session.launcher import Found, JobSource, Launcher
from cloudbutton_backend.session.resume import ResumeOverrides, budget_of
from cloudbutton_backend.storage.home import results_dir

_REMEMBER: Final = 100
"""Ended jobs that can still be found by id in this process."""

_CLEAN_AFTER: Final = 10.0
"""Seconds after the first job when old results are removed."""
_CLEAN_EVERY: Final = 600.0
"""Seconds between two later looks."""


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
        self._attaching = threading.Lock()  # or two threads would both go on with a job
        self._drivers = Drivers()
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._journal: Journal | None = None
        self._results: Path | None = None
        self._warmed: set[str] = set()
        builder = JobBuilder(self._drivers, self._files, self._remember)
        self._attacher = Attacher(builder)
        self._launcher = Launcher(builder, self._attacher.hand_over)
        self._closed = False
        self._over = threading.Event()

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
                if JOURNAL_OFF:
                    self._journal.close()
                else:
                    threading.Thread(target=self._clean, name="cloudbutton-gc", daemon=True).start()
            return self._journal

    def _files(self) -> JobFiles:
        journal = self.journal
        assert self._results is not None
        return JobFiles(journal=journal, results=self._results)

    def _clean(self) -> None:
        """Keep what is on disk within its bounds, out of the way: now and then, if there were jobs."""
        pause, seen = _CLEAN_AFTER, ""
        while not self._over.wait(pause):
            pause, latest = _CLEAN_EVERY, next(reversed(tuple(self._jobs)), "")
            if latest == seen:
                continue
            seen = latest
            with contextlib.suppress(CloudError, OSError):  # the next time, then
                bounds = settings.resolve()
                clean_up(self.journal.home, bounds.results_max_bytes, bounds.results_max_age)

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

    def use_backend(self, backend: Backend) -> None:
        """Run jobs that ask for its name on a backend object that exists already.

        Settings that are chosen for that name, in a file or by `use`, make another one of it.
        """
        self._drivers.add(backend)

    def all_settings(self) -> list[settings.SettingsRow]:
        """Return every setting, backends' own that are set among them, and where each comes from."""
        return settings_in_files.describe(self._drivers.used)

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
        """Let idle workers import `modules` in the background."""
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
        origin: JobSource | None = None,
        found: Found | None = None,
    ) -> Job:
        """Start running `function` over `items`; return at once.

        `found` gives the results that are known beforehand, where all items are available: those items
        are not run.

        Raises
        ------
        CaptureError
            If the function or a value it uses cannot travel; nothing was started.
        UsageError
            If an option makes no sense.
        """
        self._require_open()
        return self._launcher.map(
            function, items, options or JobOptions(), origin or JobSource(), found
        )

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
        self._require_open()
        return self._launcher.open_stream(function, taken, options, sample)

    def supply(self, job: Job, ready: int, ended: bool) -> None:
        """Items of a pushed job are available."""
        runner = runner_of(job)
        assert isinstance(runner, LocalRunner)
        runner.driver.supply(job.id, ready, ended)

    @property
    def is_closed(self) -> bool:
        return self._closed

    def _require_open(self) -> None:
        if self._closed:
            raise UsageError("This session was closed; start a new one.")

    def _remember(self, job: Job) -> None:
        with self._lock:
            self._jobs[job.id] = job
            self._forget_old()

    def _forget_old(self) -> None:
        """Drop the oldest jobs that have ended, when there are more than can be remembered."""
        surplus = len(self._jobs) - _REMEMBER
        for job in list(itertools.islice(self._jobs.values(), max(0, surplus))):
            if job.state.is_final:
                del self._jobs[job.id]
                if (
                    job.state is JobState.DONE
                ):  # what failed may still be retried through a job object
                    runner_of(job).forget()

    def attach(
        self,
        id_or_prefix: str,
        *,
        backend: str | None = None,
        budget: float | str | None = None,
        workers: int | None = None,
    ) -> Job:
        """Attach to a job of any process: its results are there, the rest runs here.

        A job that this process holds is that job; one that failed or was cancelled runs again what
        is missing, as `retry_failed` has it. One that is done is read from its files.

        Parameters
        ----------
        backend
            Where the rest runs; None for where it ran.
        budget
            US dollars for all that it spends, before and after; as text ``"+1.00"``, so much more.
        workers
            At most this many from now on.

        Raises
        ------
        UnknownName
            There is no such job.
        UsageError
            It is an executor's, or runs in another process and is to be changed, or an option makes
            no sense.
        """
        self._require_open()
        with self._attaching:
            return self._attach(
                id_or_prefix, ResumeOverrides(backend=backend, budget=budget, workers=workers)
            )

    def _attach(self, id_or_prefix: str, overrides: ResumeOverrides) -> Job:
        held = self._held(id_or_prefix)
        if held is None or (held.state.is_final and (overrides.backend or overrides.workers)):
            return self._attacher.attach(id_or_prefix if held is None else held.id, overrides)
        if held.state.is_final and held.state is not JobState.DONE:
            asked = None
            if overrides.budget is not None:
                asked = budget_of(overrides.budget, JournalReader(self.journal.home).job(held.id))
            try:
                return held.retry_failed(budget=asked)
            except OwnershipLost:
                return self._attacher.attach(held.id, overrides)
        if overrides:
            raise UsageError(
                f"Job {held.id} is {held.state.value} in this process: cancel it first, then attach"
                " with other options."
            )
        return held

    def adopt(self, job_id: str) -> Job:
        """Run a job that another process has written down for this one to start."""
        self._require_open()
        return self._attacher.adopt(job_id)

    def _held(self, id_or_prefix: str) -> Job | None:
        """Return a job of this process, None if it is none of its."""
        try:
            return self.job(id_or_prefix)
        except UnknownName:
            return None

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

    def _obey(self, command: JobCommand) -> None:
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
        self._over.set()
        with self._lock:
            self._closed = True
            running = [job for job in self._jobs.values() if not job.state.is_final]
        jobs = [job for job in running if job.ends_with_us]
        for job in jobs:
            job.cancel()
        for job in jobs:
            try:
                job.wait(1.0)
            except Exception:  # its driver is gone already
                continue
        self._attacher.close()
        if self._journal is not None and len(jobs) < len(running):
            self._journal.close()  # first: those that go on elsewhere have not failed
        self._drivers.close()
        self._launcher.close()
        if self._journal is not None:
            self._journal.close()


_current: Session | None = None
_lock = threading.Lock()


def current() -> Session:
    """Return this process's session; the first call makes it."""
    global _current
    with _lock:
        if _current is None or _current.is_closed:
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
