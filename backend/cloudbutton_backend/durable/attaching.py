"""Taking hold of a job by its id: what is there of it at once, the rest continued here."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Final

from cloudbutton_backend import seals
from cloudbutton_backend.allowances import allowance_of
from cloudbutton_backend.backends.protocol import JobSpec
from cloudbutton_backend.bill import Bill
from cloudbutton_backend.course import Course
from cloudbutton_backend.dispatch.driver import Driver
from cloudbutton_backend.drivers import Drivers
from cloudbutton_backend.durable import places, stored
from cloudbutton_backend.durable.claim import IsTaken, claim
from cloudbutton_backend.durable.deposit import Deposit
from cloudbutton_backend.durable.following import Elsewhere, Follower
from cloudbutton_backend.durable.items import StoredItems, StoredSource
from cloudbutton_backend.durable.keeper import KEEPER_STARTS_WITHIN, start_keeper
from cloudbutton_backend.durable.past import money_of, past_job, report_of, seconds_of
from cloudbutton_backend.durable.salvage import Salvage, prefix_of, salvage
from cloudbutton_backend.durable.stored import StoredJob, python_version
from cloudbutton_backend.durable.unrecorded import unrecorded
from cloudbutton_backend.errors import (
    CannotContinue,
    JobFailed,
    Tampered,
    UnknownName,
    UsageError,
)
from cloudbutton_backend.handle import Job, check_budget
from cloudbutton_backend.jobs import JobOptions, JobState
from cloudbutton_backend.journal import JobRow, JournalReader
from cloudbutton_backend.journal.process import start_token
from cloudbutton_backend.launching import Files, cwd, extra_of, plan_of
from cloudbutton_backend.recorder import Recorder
from cloudbutton_backend.reporter import Driven, Reporter, check_alive
from cloudbutton_backend.runs import Run, ranges_of

_NUMBERS: Final = 1 << 24
"""Batches that each process may number which runs a job."""
_MAY_BE_LOST: Final = 3.0
"""Seconds before a machine went down of which large results may not have reached the disk."""

_READABLE: Final = "What has results can be read: `job.partial()`."

Range = tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What is to be different from now on; None for what is to stay."""

    backend: str | None = None
    budget: float | str | None = None
    """US dollars for all that the job spends, before and after; as text `+1.00`, so many more."""
    workers: int | None = None

    def __bool__(self) -> bool:
        return (self.backend, self.budget, self.workers) != (None, None, None)


class Attacher:
    """Attaches to jobs for one session.

    Parameters
    ----------
    environment
        Returns the variables that tasks are to see.
    remember
        Called with a job before it goes on.
    """

    def __init__(
        self,
        drivers: Drivers,
        files: Callable[[], Files],
        environment: Callable[[], dict[str, str]],
        remember: Callable[[Job], None],
    ) -> None:
        self._drivers = drivers
        self._files = files
        self._environment = environment
        self._remember = remember
        self._followers: list[Follower] = []

    def attach(self, job_id: str, wish: Wish) -> Job:
        """Return the job with this id, with what is there of it; see `Session.attach`."""
        row = self._row(job_id)
        if row.kind == "executor":
            raise UsageError(
                f"Job {row.id} is an executor's: its calls came from a program, call by call. Submit them"
                " anew."
            )
        if row.kind == "button":
            raise UsageError(
                f"Job {row.id} is a loop of a cell: `%cloud attach {row.id}` in a notebook runs the cell"
                " again, and takes over what is done."
            )
        if row.state is JobState.DONE:
            return self._read(row)
        if row.state in (JobState.RUNNING, JobState.CANCELLING):
            if wish:
                raise IsTaken(row.id, row.pid, row.host)
            return self.follow(row)
        try:
            return self._go_on(row, wish)
        except CannotContinue as error:
            return self._read(row, error)
        except IsTaken:  # just now, by somebody who attached, too
            if wish:
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

    # -- what another process runs

    def follow(self, row: JobRow) -> Job:
        """Return a job that another process runs."""
        files = self._files()
        home = files.journal.home
        try:
            kept = stored.load(home, row.id)
            before, report = kept.before, kept.report
        except (OSError, Tampered):  # its results can be read all the same
            before, report = 0, report_of(row)
        held: list[Job] = []

        def take_over(row: JobRow) -> None:
            self._go_on(row, Wish(), held[0])

        def go_on(budget: float | None) -> None:
            row_now = self._reader().job(row.id)
            self._go_on(row_now, Wish(budget=budget), held[0])

        follower = Follower(home, files.results, row, before, take_over)
        job = Job(follower.course, Elsewhere(home, row.id, go_on), lambda: report)
        held.append(job)
        self._followers.append(follower)
        self._remember(job)
        follower.start()
        return job

    def close(self) -> None:
        """Follow nobody any more. Safe to repeat."""
        for follower in self._followers:
            follower.stop()

    def hand_over(self, job_id: str, deposit: Deposit) -> Job:
        """Have a keeper run a job that was not started yet, and follow it.

        Raises
        ------
        BackendError
            The keeper did not start.
        """
        home = self._files().journal.home
        try:
            deposit.write_all()
            start_keeper(home, job_id)
        except BaseException:
            places.forget(home, job_id)
            raise
        return self.follow(self._reader().job(job_id))

    def adopt(self, job_id: str) -> Job:
        """Run a job that was written down and not started: in a keeper, which has nothing else to do."""
        journal = self._files().journal
        kept = stored.load(journal.home, job_id)
        journal.add_job(replace(kept.record, pid=os.getpid()))
        journal.flush(KEEPER_STARTS_WITHIN)
        return self._go_on(self._reader().job(job_id), Wish())

    # -- what can only be read

    def _read(self, row: JobRow, error: JobFailed | None = None) -> Job:
        """Return a job as something to read."""
        files = self._files()
        batches = self._reader().batches(row.id)
        found = salvage(files.results, row.id, batches)
        if error is None:
            gaps = _gaps(found, row.n_items or row.done)
            if gaps:
                error = JobFailed(
                    f"The results of {_named(gaps)} of job {row.id} cannot be read any more, though it was"
                    f" done. {' '.join(found.trouble)} The others are in `job.partial()`."
                )
        job = past_job(row, batches, found, error, found.trouble)
        self._remember(job)
        return job

    def _stored(self, row: JobRow) -> StoredJob:
        """Return what is needed to go on with a job.

        Raises
        ------
        CannotContinue
            It cannot be continued, or not here.
        """
        try:
            kept = stored.load(self._files().journal.home, row.id)
        except FileNotFoundError:
            raise CannotContinue(
                f"Job {row.id} cannot be continued: its function was not written to disk"
                f" (it ran for less than a tenth of a second, or the disk refused). {_READABLE}"
            ) from None
        except Tampered as error:
            raise CannotContinue(
                f"Job {row.id} cannot be continued. {error} {_READABLE}"
            ) from error
        if kept.python != python_version():
            raise CannotContinue(
                f"Job {row.id} was started with Python {kept.python}, and code does not travel to"
                f" {python_version()}: attach to it from a kernel with {kept.python}. {_READABLE}"
            )
        missing = [name for name in kept.imports if not _is_there(name, _path_of(kept))]
        if missing:
            names = ", ".join(f"`{name}`" for name in missing)
            raise CannotContinue(
                f"Job {row.id} needs {names}, not installed here. Install what is missing, or attach from"
                f" the environment that started it. {_READABLE}"
            )
        return kept

    # -- what goes on

    def _go_on(self, row: JobRow, wish: Wish, into: Job | None = None) -> Job:
        """Run here what is missing of a job, as the job that somebody holds already if there is one.

        Raises
        ------
        CannotContinue
            That is not possible, or not here.
        IsTaken
            Somebody else was faster.
        """
        files, home = self._files(), self._files().journal.home
        kept = self._stored(row)
        budget = budget_of(wish.budget, row)
        options = replace(
            kept.options,
            backend=kept.options.backend if wish.backend is None else wish.backend,
            workers=kept.options.workers if wish.workers is None else wish.workers,
            budget=budget,
        )
        if options.workers is not None and options.workers < 1:
            raise UsageError(f"`workers` must be at least 1, not {options.workers}.")
        try:
            blobs = tuple(stored.load_blob(home, digest) for digest in kept.blobs)
        except (OSError, Tampered) as error:
            raise CannotContinue(
                f"Job {row.id} cannot be continued: a large value that it uses is gone. {error}"
                f" {_READABLE}"
            ) from error
        driver = self._drivers.of(options.backend)
        driver.start()
        spec = JobSpec(
            id=row.id,
            payload=kept.payload,
            blobs=blobs,
            seed=row.seed,
            guard=options.guard,
            timeout=options.timeout,
            memory=options.memory,
            results="",
            cwd=kept.cwd if os.path.isdir(kept.cwd) else cwd(),
            environment=self._environment(),
            path=_path_of(kept),
            displays=kept.displays,
            extra={**extra_of(options), "packages": lambda: set(kept.imports)},
        )
        driver.prepare(spec)
        del spec.extra["packages"]
        times = claim(home, row.id, backend=driver.recorded_as, budget=budget)
        try:
            return self._launch(row, kept, options, spec, driver, times, into)
        except BaseException:  # or it would count as running, by us
            files.journal.update_job(row.id, state=_ended_state(row).value)
            raise

    def _launch(
        self,
        row: JobRow,
        kept: StoredJob,
        options: JobOptions,
        spec: JobSpec,
        driver: Driver,
        times: int,
        into: Job | None,
    ) -> Job:
        """Go on with a job that is ours now."""
        files = self._files()
        batches = self._reader().batches(row.id)
        found = salvage(
            files.results, row.id, batches, before=kept.before, doubted_after=_doubted_after(row)
        )
        home = files.journal.home
        items = StoredItems(places.items_file(home, row.id), seals.key(home))
        total = row.n_items if items.total is None else items.total
        count = max(items.stop, found.stop) if total is None else total
        done = ranges_of(found.runs)
        gone = items.missing(_complement(done, count))
        generation = max(times, found.generation + 1)
        prefix = prefix_of(files.results, row.id, generation)
        spec = replace(spec, results=str(prefix))
        record = replace(kept.record, backend=driver.recorded_as, pid=os.getpid(), n_items=count)
        recorder = Recorder(row.id, files.journal, prefix, kept.before)
        recorder.batches.extend(batches)
        recorder.lost_workers = row.lost_workers
        for line in (*row.warnings, *found.trouble):
            recorder.warn(line)
        limits, spent = driver.backend.limits, row.spend + row.committed
        bill = None
        if limits.rate is not None:
            money = money_of(row)
            estimate = None if money is None else money.estimate
            bill = Bill(row.id, files.journal, limits, options.workers, estimate)
            bill.spend = spent
        alive = partial(check_alive, driver, record)
        if into is None:
            course = Course(record, options, recorder, bill, alive, kept.before)
            course.task_seconds = row.task_seconds
            course.started = time.monotonic() - seconds_of(row)
        else:
            course = into._course
            course.continue_as(record, options, recorder, bill, alive)
        allowance = allowance_of(home, row.id, limits, spent=spent)
        reporter = Reporter(
            course, recorder, bill, files.journal, spec, frozenset(), allowance=allowance
        )
        reporter.give(StoredSource(items, count, kept.before))
        reporter.left_on_disk = Kept(home, row.id)
        reporter.retried_before = course.retried = row.retried
        course.prefill(uncovered(found.runs, course.harvest.so_far()))
        done = ranges_of(course.harvest.so_far())
        course.broken = reporter.lacking = _lacking(row.id, gone, total is None, items.damage)
        driven = Driven(driver, reporter)
        if into is None:
            job = Job(course, driven, lambda: kept.report)
        else:
            job, into._runner = into, driven
        plan = replace(
            plan_of(row.id, options, limits),
            n_items=count,
            by_day=allowance is not None,
            spent=spent,
            done=(*done, *gone),
            batches_after=generation * _NUMBERS,
        )
        self._remember(job)
        files.journal.clear_errors(row.id)
        files.journal.update_job(row.id, state=JobState.RUNNING.value, failed=0, n_items=count)
        files.journal.update_progress(course.progress)
        driver.open(spec, plan, reporter)
        return job


@dataclass(frozen=True)
class Kept:
    """What is on the disk of a job that was attached to."""

    home: Path
    job_id: str

    def ended(self, state: JobState) -> None:
        """The job has ended: what is done needs no continuing."""
        if state is JobState.DONE:
            places.forget(self.home, self.job_id)


def budget_of(wish: float | str | None, row: JobRow) -> float | None:
    """Return what a job may cost in all from now on.

    Raises
    ------
    UsageError
        It is no amount of dollars.
    """
    if wish is None:
        return row.budget
    try:
        amount = float(wish)
    except ValueError:
        raise UsageError(
            f"`budget` must be US dollars like 2.00, or +1.00 for so many more, not {wish!r}."
        ) from None
    check_budget(amount)
    if not (isinstance(wish, str) and wish.strip().startswith("+")):
        return amount
    base = row.spend + row.committed if row.budget is None else row.budget
    return base + amount


def _is_there(name: str, path: Sequence[str]) -> bool:
    if name in sys.modules or name in sys.builtin_module_names:
        return True
    return PathFinder.find_spec(name, list(path)) is not None


def _path_of(kept: StoredJob) -> tuple[str, ...]:
    """Return where modules are looked for: where the job had them, then where this process has them."""
    return tuple(dict.fromkeys((*kept.path, *sys.path)))


def _ended_state(row: JobRow) -> JobState:
    return JobState.CANCELLED if row.state is JobState.LOST else row.state


def _doubted_after(row: JobRow) -> float | None:
    """Return since when large results may have been lost on their way to the disk."""
    boot, own = row.token.partition(" ")[0], start_token(os.getpid()).partition(" ")[0]
    if not boot or boot == own:
        return None
    return row.heartbeat - _MAY_BE_LOST


def _gaps(found: Salvage, count: int) -> list[Range]:
    return _complement(ranges_of(found.runs), count)


def uncovered(runs: Iterable[Run], held: Iterable[Run]) -> list[Run]:
    """Return what of `runs` concerns items that are not in `held`."""
    gaps = _complement(ranges_of(held), 1 << 62)
    return [
        Run(max(run.first, first), min(run.stop, stop), run.entry)
        for run in runs
        for first, stop in gaps
        if max(run.first, first) < min(run.stop, stop)
    ]


def _complement(done: Sequence[Range], count: int) -> list[Range]:
    """Return the ranges of items below `count` that are not in `done`, which is in order."""
    gaps, start = [], 0
    for first, stop in (*done, (count, count)):
        if start < min(first, count):
            gaps.append((start, min(first, count)))
        start = max(start, stop)
    return gaps


def _named(ranges: Sequence[Range]) -> str:
    """Return `item 3`, `items 3–7 and 9`."""
    names = [f"{first}" if stop == first + 1 else f"{first}–{stop - 1}" for first, stop in ranges]
    if len(names) > 5:
        names = [*names[:4], f"{len(names) - 4} more stretches"]
    one = len(ranges) == 1 and ranges[0][1] == ranges[0][0] + 1
    text = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
    return f"{'item' if one else 'items'} {text}"


def _lacking(
    job_id: str, gone: Sequence[Range], is_endless: bool, damage: str
) -> CannotContinue | None:
    """Return what is to be said at the end if items of the job are not to be had any more."""
    parts = []
    if gone:
        why = damage or "they had not been written to disk, or cannot be read"
        parts.append(f"{_named(gone)} cannot be run: {why}")
    if is_endless:
        parts.append(
            "the iterator that gave the items died with its kernel, and what it had not given by then is"
            " not known"
        )
    if not parts:
        return None
    text = "; ".join(parts)
    return CannotContinue(
        f"Job {job_id} was continued as far as possible: {text}. What has results is in `job.partial()`."
    )
