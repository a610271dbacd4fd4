"""Resumes a job of an earlier process: results are taken over, what is missing runs here.

It resumes on the backend where it ran last, or on one that was asked for. What a kernel has under a backend's
name may be another thing than what the job ran on: emulated there and billed here, by the settings of each.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Final

from cloudbutton_backend.backends.capabilities import HasPortableSettings, Recovers
from cloudbutton_backend.backends.protocol import Backend, JobSpec
from cloudbutton_backend.capture import Blob
from cloudbutton_backend.dispatch.driver import Driver
from cloudbutton_backend.durable import job_file
from cloudbutton_backend.durable.item_file import StoredItems, StoredSource
from cloudbutton_backend.durable.job_file import JobFile, python_version
from cloudbutton_backend.durable.salvage import prefix_of, salvage
from cloudbutton_backend.errors import CannotContinue, CloudError, Tampered, UsageError
from cloudbutton_backend.job.job import Job, check_budget
from cloudbutton_backend.job.recorder import JobRecorder
from cloudbutton_backend.job.run_state import RunState
from cloudbutton_backend.job_model import JobOptions, JobState
from cloudbutton_backend.journal import JobRow, JournalReader
from cloudbutton_backend.journal.ownership import claim
from cloudbutton_backend.results.result_ranges import (
    Range,
    ResultRange,
    complement,
    named,
    ranges_of,
    runs_of,
    uncovered,
)
from cloudbutton_backend.session.finished_jobs import seconds_of
from cloudbutton_backend.session.job_builder import EarlierPart, JobBuilder, JobDefinition
from cloudbutton_backend.session.job_plan import cwd
from cloudbutton_backend.storage import job_paths, sealed_files

_NUMBERS: Final = 1 << 24
"""Batches that each process may number which runs a job."""
_READABLE: Final = "What has results can be read: `job.partial()`."


@dataclass(frozen=True, kw_only=True)
class ResumeOverrides:
    """Options that replace those of the job; None for those that stay."""

    backend: str | None = None
    budget: float | str | None = None
    """US dollars for all that the job spends, before and after; as text `+1.00`, so much more."""
    workers: int | None = None

    def __bool__(self) -> bool:
        return (self.backend, self.budget, self.workers) != (None, None, None)


class Resumer:
    """Resumes jobs for one session."""

    def __init__(self, builder: JobBuilder) -> None:
        self._builder = builder

    def go_on(self, row: JobRow, overrides: ResumeOverrides, into: Job | None = None) -> Job:
        """Run here what is missing of a job, as the job object that exists already if there is one.

        Raises
        ------
        CannotContinue
            That is not possible, or not here.
        OwnedElsewhere
            Another process was faster.
        UsageError
            An override makes no sense.
        """
        files = self._builder.files()
        home = files.journal.home
        kept = _stored(home, row)
        options = _options(kept, row, overrides)
        blobs = _blobs(home, kept)
        drivers = self._builder.drivers.of
        if overrides.backend is None:
            driver = driver_of(row, options.backend, drivers)
        else:
            driver = drivers(options.backend)
        driver.start()
        definition = JobDefinition(
            record=replace(
                row,
                backend=driver.identity.name,
                emulated=driver.identity.emulated,
                on_this_machine=driver.backend.limits.is_this_machine,
                pid=os.getpid(),
            ),
            options=options,
            driver=driver,
            payload=kept.payload,
            blobs=blobs,
            displays=kept.displays,
            cwd=kept.cwd if os.path.isdir(kept.cwd) else cwd(),
            path=_path_of(kept),
            packages=lambda: set(kept.imports),
            before=kept.before,
        )
        spec = self._builder.prepare(definition)
        times = claim(
            home,
            row.id,
            backend=driver.identity,
            on_this_machine=definition.record.on_this_machine,
            budget=options.budget,
        )
        try:
            return self._launch(_OwnedJob(row, kept, definition, spec, times), into)
        except BaseException:  # or it would count as running, by us
            state = JobState.CANCELLED if row.state is JobState.LOST else row.state
            files.journal.update_job(row.id, state=state.value)
            raise

    def _launch(self, owned: _OwnedJob, into: Job | None) -> Job:
        """Launch a job that is ours now."""
        files, row, kept, driver = (
            self._builder.files(), owned.row, owned.kept, owned.definition.driver
        )  # fmt: skip
        home, journal, backend = files.journal.home, files.journal, driver.backend
        batches = JournalReader(home).batches(row.id)
        found = salvage(files.results, row.id, batches, before=kept.before)
        items = StoredItems(job_paths.items_file(home, row.id), sealed_files.key(home))
        total = row.n_items if items.total is None else items.total
        count = max(items.stop, found.stop) if total is None else total
        generation = max(owned.times, found.generation + 1)
        prepared = self._builder.build(
            replace(owned.definition, record=replace(owned.definition.record, n_items=total)),
            replace(owned.spec, results=str(prefix_of(files.results, row.id, generation))),
            lambda _: kept.report,
            EarlierPart(row=row, batches=batches, job=into),
        )
        run_state, recorder, listener = prepared.run_state, prepared.recorder, prepared.listener
        if into is None:
            run_state.task_seconds, run_state.waited = row.task_seconds, row.waited
            run_state.started = time.monotonic() - seconds_of(row)
        for line in found.trouble:
            recorder.warn(line)
        run_state.prefill(uncovered(found.runs, run_state.result_store.so_far()))
        if row.options.get("detach"):
            if isinstance(backend, HasPortableSettings) and (
                line := backend.differs_from(kept.settings)
            ):
                recorder.warn(line)
            _recover(backend, run_state, recorder)
        done = ranges_of(run_state.result_store.so_far())
        gone = items.missing(complement(done, count))
        listener.give(StoredSource(items, total, kept.before))
        listener.retried_before = run_state.retried = row.retried
        run_state.broken = listener.lacking = _lacking(row.id, gone, total is None, items.damage)
        plan = replace(
            prepared.plan,
            n_items=count,
            spent=row.spend + row.committed,
            done=(*done, *gone),
            lacks_items=listener.lacking is not None,
            batches_after=generation * _NUMBERS,
        )
        self._builder.remember(prepared.job)
        journal.clear_errors(row.id)
        journal.update_job(row.id, state=JobState.RUNNING.value, failed=0, n_items=total)
        journal.update_progress(run_state.progress)
        driver.open(prepared.spec, plan, listener)
        return prepared.job


@dataclass(frozen=True)
class _OwnedJob:
    """A job that is ours now."""

    row: JobRow
    kept: JobFile
    definition: JobDefinition
    spec: JobSpec
    times: int
    """How often it was taken over."""


def budget_of(overrides: float | str | None, row: JobRow) -> float | None:
    """Return what a job may cost in all from now on.

    Raises
    ------
    UsageError
        It is no amount of dollars.
    """
    if overrides is None:
        return row.budget
    try:
        amount = float(overrides)
    except ValueError:
        raise UsageError(
            f"`budget` must be US dollars like 2.00, or +1.00 for that much more, not {overrides!r}."
        ) from None
    check_budget(amount)
    if not (isinstance(overrides, str) and overrides.strip().startswith("+")):
        return amount
    base = row.spend + row.committed if row.budget is None else row.budget
    return base + amount


def _options(kept: JobFile, row: JobRow, overrides: ResumeOverrides) -> JobOptions:
    """Return the options with which a job is run from now on."""
    if overrides.workers is not None and overrides.workers < 1:
        raise UsageError(f"`workers` must be at least 1, not {overrides.workers}.")
    return replace(
        kept.options,
        backend=overrides.backend or _where(kept, row),
        workers=kept.options.workers if overrides.workers is None else overrides.workers,
        budget=budget_of(overrides.budget, row),
    )


def _where(kept: JobFile, row: JobRow) -> str:
    """Return the backend on which a job ran last: it may have been resumed elsewhere."""
    return kept.options.backend if row.backend == kept.record.backend else row.backend


def _blobs(home: Path, kept: JobFile) -> tuple[Blob, ...]:
    """Return the large values that a job uses."""
    try:
        return tuple(job_file.load_blob(home, digest) for digest in kept.blobs)
    except (OSError, Tampered) as error:
        raise CannotContinue(
            f"Job {kept.record.id} cannot be continued: a large value that it uses is gone. {error}"
            f" {_READABLE}"
        ) from error


def _stored(home: Path, row: JobRow) -> JobFile:
    """Return what is needed to go on with a job.

    Raises
    ------
    CannotContinue
        It cannot be continued, or not here.
    """
    try:
        kept = job_file.load(home, row.id)
    except FileNotFoundError:
        raise CannotContinue(
            f"Job {row.id} cannot be continued: its function was not written to disk"
            f" (it ran for less than a tenth of a second, or the disk refused). {_READABLE}"
        ) from None
    except Tampered as error:
        raise CannotContinue(f"Job {row.id} cannot be continued. {error} {_READABLE}") from error
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


def _is_there(name: str, path: Sequence[str]) -> bool:
    if name in sys.modules or name in sys.builtin_module_names:
        return True
    return PathFinder.find_spec(name, list(path)) is not None


def _path_of(kept: JobFile) -> tuple[str, ...]:
    """Return where modules are looked for: where the job had them, then where this process has them."""
    return tuple(dict.fromkeys((*kept.path, *sys.path)))


def _recover(backend: Backend, run_state: RunState, recorder: JobRecorder) -> None:
    """Take in what calls brought after their process had ended, where a backend has that."""
    if not isinstance(backend, Recovers):
        return
    try:
        for results in backend.recover(run_state.record.id):
            whole = [ResultRange(results.first, results.first + results.count, None)]
            fresh = {
                index
                for run in uncovered(whole, run_state.result_store.so_far())
                for index in range(run.first, run.stop)
                if index - results.first not in results.meta.errors
            }
            if fresh:
                skip = frozenset(range(whole[0].first, whole[0].stop)) - fresh
                run_state.prefill(runs_of(recorder.accept(results, skip), skip))
    except CloudError as error:
        recorder.warn(
            f"what its calls left cannot be had, so those items run again: {str(error).splitlines()[0]}"
        )


def _lacking(
    job_id: str, gone: Sequence[Range], is_endless: bool, damage: str
) -> CannotContinue | None:
    """Return the closing message if items of the job are no longer available."""
    parts = []
    if gone:
        why = damage or "they had not been written to disk, or cannot be read"
        parts.append(f"{named(gone)} cannot be run: {why}")
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


def driver_of(row: JobRow, name: str, drivers: Callable[[str], Driver]) -> Driver:
    """Return the driver of the backend on which a job ran last, by its name.

    Raises
    ------
    UsageError
        The backend of that name is another thing in this kernel.
    """
    try:
        driver = drivers(name)
    except CloudError as error:
        if not row.emulated:
            raise
        raise UsageError(
            f"Job {row.id} ran on {row.ran_on}, and `{name}` is not emulated in this kernel. Nothing was"
            f" started. Say `%cloud use {name} --emulate`, and attach then; or go on elsewhere:"
            f" `%cloud attach {row.id} --backend local`."
        ) from error
    require_same(row, driver)
    return driver


def require_same(row: JobRow, driver: Driver) -> None:
    """Return if a backend of this kernel is what a job ran on.

    Raises
    ------
    UsageError
        It is not, and the user has not asked for it.
    """
    if driver.identity == row.ran_on:
        return
    name, limits = driver.backend.name, driver.backend.limits
    cost = ", which costs money" if limits.rate is not None and not limits.emulated else ""
    raise UsageError(
        f"Job {row.id} ran on {row.ran_on}, and `{name}` is {driver.identity} in this kernel{cost}."
        f" Nothing was started. Give `{name}` the settings that it had (`%cloud use {name} …`) and attach"
        f" then; or go on with those of this kernel: `%cloud attach {row.id} --backend {name}`."
    )
