"""A job that another process runs: its results are read as they come, and it is taken over if that dies."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from cloudbutton_backend.durable.salvage import SalvagedItems, entry_of, result_files
from cloudbutton_backend.errors import BackendError, CloudError, JobFailed, RemoteError, UnknownName
from cloudbutton_backend.job.listener import tell
from cloudbutton_backend.job.run_state import RunContext, RunState
from cloudbutton_backend.job_model import BatchRecord, JobState
from cloudbutton_backend.journal import JobRow, JournalReader
from cloudbutton_backend.journal.ownership import OwnedElsewhere
from cloudbutton_backend.results.result_ranges import ResultRange
from cloudbutton_backend.results.result_record import tag
from cloudbutton_backend.session.finished_jobs import (
    FinishedCount,
    FinishedNotes,
    money_of,
    options_of,
    seconds_of,
)
from cloudbutton_backend.storage.sealed_files import results_key
from cloudbutton_backend.worker.result_file import FileRecord, after, read_records

_PAUSE: Final = 0.1
"""Seconds between looks: the journal is written as often."""
_MISSED: Final = 20
"""Looks in a row at which the journal has no such job, until it is believed."""
_LINES: Final = 3


@dataclass(frozen=True)
class RemoteRunner:
    """Stands for the process that runs a job, and sends it commands through the journal."""

    home: Path
    job_id: str
    go_on: Callable[[float | None], None]
    """Runs the job here, once it has ended there."""
    ends_with_us: bool = False
    backend: None = None

    def cancel(self) -> None:
        """Ask its process to stop it; safe to repeat."""
        JournalReader(self.home).send(self.job_id, "cancel")

    def retry(self, budget: float | None) -> None:
        """Run what failed or is missing here."""
        self.go_on(budget)

    def forget(self) -> None:
        """Nothing is kept here."""


class Follower:
    """Reads along, in a thread of its own, until the job has ended or its process is gone.

    Parameters
    ----------
    row
        The job as it was found.
    before
        How many items of the same loop ran before the job's first.
    lost
        Called on the follower's thread when its process is gone: takes the job over and returns True, returns
        False if the job turned out to be done, or raises.
    """

    def __init__(
        self, home: Path, results: Path, row: JobRow, before: int, lost: Callable[[JobRow], bool]
    ) -> None:
        self._reader = JournalReader(home)
        self._results = results
        self._lost = lost
        self._stopping = threading.Event()
        self._positions: dict[Path, int] = {}
        self._records: dict[tuple[int, int], FileRecord] = {}
        """Read, and not announced by the journal yet."""
        self._batches: list[BatchRecord] = []
        self._changed = -1
        self._salvaged = SalvagedItems(before)
        self._lines: tuple[str, ...] = ()
        self._thread = threading.Thread(
            target=self._run, args=(row,), name="cloudbutton-follower", daemon=True
        )
        self.run_state = RunState(
            RunContext(
                record=row,
                options=options_of(row),
                notes=_notes(row, (), ()),
                money=money_of(row),
                check_alive=self._check_alive,
                before=before,
            )
        )
        self.run_state.items = FinishedCount(row.n_items)
        self.run_state.started = time.monotonic() - seconds_of(row)

    def start(self) -> None:
        """Begin to read along."""
        self._take_in(self._reader.job(self.run_state.record.id))
        self._thread.start()

    def stop(self) -> None:
        """Read no further; the job goes on where it runs."""
        self._stopping.set()

    def _check_alive(self) -> None:
        if not self._thread.is_alive():
            raise BackendError(
                f"Job {self.run_state.record.id} is not followed any more: the session was closed."
            )

    # -- the thread

    def _run(self, row: JobRow) -> None:
        missed = 0
        error: JobFailed | None = None
        while not self._stopping.wait(_PAUSE):
            try:
                row = self._reader.job(row.id)
                missed = 0
                self._take_in(row)
                if row.state is JobState.LOST:
                    if self._lost(row):
                        return
                    continue
            except OwnedElsewhere:
                continue  # another process was faster
            except UnknownName:
                missed += 1
                if missed < _MISSED:
                    continue
                error = JobFailed(f"Job {row.id} is not in the journal any more.")
            except JobFailed as failure:
                error = failure
            except CloudError as failure:
                error = JobFailed(f"Job {row.id} cannot be followed: {failure}")
                error.__cause__ = failure
            except OSError as failure:
                error = JobFailed(f"Job {row.id} cannot be followed: {failure}")
            if error is not None or row.state.is_final:
                self._end(row, error)
                return

    def _take_in(self, row: JobRow) -> None:
        """Take over what is new: counts from the journal, results from the files."""
        run_state, known = self.run_state, len(self._batches)
        if row.changed != self._changed:
            self._batches = self._reader.batches(row.id)
            self._lines = self._latest_lines(row)
            self._changed = row.changed
            self._read_files()
        fresh: list[ResultRange] = []
        for batch in self._batches[known:]:
            record = self._records.pop((batch.batch, batch.first), None)
            if record is not None:
                fresh += self._salvaged.take(record)
        if row.state.is_final:  # what came last, and what was recorded and never announced
            for record in self._records.values():
                fresh += self._salvaged.take(record)
            self._records.clear()
        if not row.state.is_final and row.state is not JobState.LOST:
            run_state.state = row.state
        run_state.items = FinishedCount(row.n_items)
        run_state.notes = _notes(row, self._batches, self._lines)
        run_state.money = money_of(row)
        run_state.running, run_state.workers, run_state.retried = (
            row.running,
            row.workers,
            row.retried,
        )
        run_state.task_seconds, run_state.waited = row.task_seconds, row.waited
        if row.budget != run_state.options.budget:
            run_state.options = replace(run_state.options, budget=row.budget)
        if fresh:
            run_state.prefill(fresh)

    def _latest_lines(self, row: JobRow) -> tuple[str, ...]:
        printed = "".join(log.text for log in self._reader.log(row.id)[-10:])
        return tuple([line for line in printed.splitlines() if line.strip()][-_LINES:])

    def _read_files(self) -> None:
        key = results_key(self._results.parent, self.run_state.record.id)
        for _, _, path in result_files(self._results, self.run_state.record.id):
            start = self._positions.get(path, 0)
            if path.stat().st_size <= start:
                continue
            for record in read_records(str(path), key, lambda error: None, start):
                self._records[record.batch, record.first] = record
                self._positions[path] = after(record)

    def _end(self, row: JobRow, error: JobFailed | None) -> None:
        """It has ended there."""
        run_state = self.run_state
        state = row.state if error is None else JobState.FAILED
        if state is JobState.FAILED:
            failures = self._failed(row)
            with run_state.lock:
                run_state.failed = len(failures)
                run_state.result_store.add(failures)
            if not failures:
                run_state.broken = error or JobFailed(
                    f"Job {row.id} ended in its process: {row.error or 'no reason is known'}.\n"
                    f"`job.partial()` has what is done; `%cloud attach {row.id}` goes on with the rest."
                )
        tell(run_state.end(state), row.id)

    def _failed(self, row: JobRow) -> list[ResultRange]:
        """Return the failed items: with their exceptions, or else what the journal has of these."""
        run_state = self.run_state
        runs = []
        for noted in self._reader.errors(row.id):
            index = noted.index - run_state.before
            if self._salvaged.has(index):
                continue
            record = self._salvaged.failures.get(index)
            if record is not None:
                runs.append(ResultRange(index, index + 1, entry_of(record, run_state.before)))
            else:
                error = RemoteError(noted.type_name, noted.message, noted.traceback)
                tag(error, noted.index, noted.item)
                runs.append(ResultRange(index, index + 1, None, error))
        return runs


def _notes(row: JobRow, batches: Sequence[BatchRecord], lines: tuple[str, ...]) -> FinishedNotes:
    return FinishedNotes(batches, row.lost_workers, lines, row.warnings, row.error)
