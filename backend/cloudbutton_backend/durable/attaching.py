"""Taking hold of a job by its id: what is there of it at once, the rest continued here."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Final

from cloudbutton_backend import seals
from cloudbutton_backend.backends.protocol import JobSpec
from cloudbutton_backend.bill import Bill
from cloudbutton_backend.course import Course
from cloudbutton_backend.dispatch.driver import Driver
from cloudbutton_backend.drivers import Drivers
from cloudbutton_backend.durable import places, stored
from cloudbutton_backend.durable.claim import IsTaken, claim
from cloudbutton_backend.durable.items import StoredItems, StoredSource
from cloudbutton_backend.durable.past import money_of, past_job, seconds_of
from cloudbutton_backend.durable.salvage import Salvage, prefix_of, salvage
from cloudbutton_backend.durable.stored import StoredJob, python_version
from cloudbutton_backend.errors import CannotContinue, JobFailed, Tampered, UsageError
from cloudbutton_backend.handle import Job, check_budget
from cloudbutton_backend.jobs import JobOptions, JobState
from cloudbutton_backend.journal import JobRow, JournalReader
from cloudbutton_backend.journal.process import start_token
from cloudbutton_backend.launching import Files, cwd, extra_of, plan_of
from cloudbutton_backend.recorder import Recorder
from cloudbutton_backend.reporter import Driven, Reporter, check_alive
from cloudbutton_backend.runs import ranges_of

_NUMBERS: Final = 1 << 24
"""Batches that each process may number which runs a job."""
_MAY_BE_LOST: Final = 3.0
"""Seconds before a machine went down of which large results may not have reached the disk."""

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

    def attach(self, job_id: str, wish: Wish) -> Job:
        """Return the job with this id, with what is there of it; see `Session.attach`."""
        files = self._files()
        row = JournalReader(files.journal.home).job(job_id)
        if row.kind == "executor":
            raise UsageError(
                f"Job {row.id} is an executor's: its calls came from a program, call by call. Submit them"
                " anew."
            )
        if row.state is JobState.DONE:
            return self._read(row)
        if row.state in (JobState.RUNNING, JobState.CANCELLING):
            raise IsTaken(row.id, row.pid, row.host)
        try:
            kept = self._stored(row)
        except CannotContinue as error:
            return self._read(row, error)
        return self._go_on(row, kept, wish)

    # -- what can only be read

    def _read(self, row: JobRow, error: JobFailed | None = None) -> Job:
        """Return a job as something to read."""
        files = self._files()
        batches = JournalReader(files.journal.home).batches(row.id)
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
        readable = "What has results can be read: `job.partial()`."
        try:
            kept = stored.load(self._files().journal.home, row.id)
        except FileNotFoundError:
            raise CannotContinue(
                f"Job {row.id} cannot be continued: its function was not written to disk"
                f" (it ran for less than a tenth of a second, or the disk refused). {readable}"
            ) from None
        except Tampered as error:
            raise CannotContinue(f"Job {row.id} cannot be continued. {error} {readable}") from error
        if kept.python != python_version():
            raise CannotContinue(
                f"Job {row.id} was started with Python {kept.python}, and code does not travel to"
                f" {python_version()}: attach to it from a kernel with {kept.python}. {readable}"
            )
        missing = [name for name in kept.imports if not _is_there(name, _path_of(kept))]
        if missing:
            names = ", ".join(f"`{name}`" for name in missing)
            raise CannotContinue(
                f"Job {row.id} needs {names}, not installed here. Install what is missing, or attach from"
                f" the environment that started it. {readable}"
            )
        return kept

    # -- what goes on

    def _go_on(self, row: JobRow, kept: StoredJob, wish: Wish) -> Job:
        files, home = self._files(), self._files().journal.home
        budget = budget_of(wish.budget, row)
        options = replace(
            kept.options,
            backend=wish.backend or kept.options.backend,
            workers=wish.workers or kept.options.workers,
            budget=budget,
        )
        if options.workers is not None and options.workers < 1:
            raise UsageError(f"`workers` must be at least 1, not {options.workers}.")
        try:
            blobs = tuple(stored.load_blob(home, digest) for digest in kept.blobs)
        except (OSError, Tampered) as error:
            return self._read(
                row,
                CannotContinue(
                    f"Job {row.id} cannot be continued: a large value that it uses is gone. {error}"
                    " What has results can be read: `job.partial()`."
                ),
            )
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
            return self._launch(row, kept, options, spec, driver, times, files)
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
        files: Files,
    ) -> Job:
        """Go on with a job that is ours now."""
        reader = JournalReader(files.journal.home)
        batches = reader.batches(row.id)
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
        course = Course(record, options, recorder, bill, alive, kept.before)
        reporter = Reporter(course, recorder, bill, files.journal, spec, frozenset())
        reporter.give(StoredSource(items, count, kept.before))
        reporter.retried_before = course.retried = row.retried
        course.task_seconds = row.task_seconds
        course.started = time.monotonic() - seconds_of(row)
        course.prefill(found.runs)
        course.broken = reporter.lacking = _lacking(row.id, gone, total is None, items.damage)
        job = Job(course, Driven(driver, reporter), lambda: kept.report)
        reporter.left_on_disk = Kept(home, row.id)
        plan = replace(
            plan_of(row.id, options, limits),
            n_items=count,
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
