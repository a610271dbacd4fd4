"""Writes checkpoints: what a job needs to be resumed, while it runs and out of its way.

A job that is done within the journal's first 100 ms leaves nothing of this on the disk. A longer one is
listed in the journal once it could be continued: its function is written, its large values, and a
first portion of its items. Writing begins when the job has run for about as long as writing takes, so a
short job with much to write does not pay for what it will not need; and the rest of the items is
written in a tenth of the time, those that have results by then left out.
"""

from __future__ import annotations

import pickle
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

from cloudbutton_backend.capture import Blob, dump_items
from cloudbutton_backend.capture.blobs import rough_size, total
from cloudbutton_backend.capture.report import size
from cloudbutton_backend.durable import job_file
from cloudbutton_backend.durable.item_file import ItemsWriter
from cloudbutton_backend.durable.job_file import JobFile
from cloudbutton_backend.errors import CloudError
from cloudbutton_backend.job.run_state import RunState
from cloudbutton_backend.job_model import JobState
from cloudbutton_backend.results.result_ranges import ResultRange, only_done, ranges_of
from cloudbutton_backend.storage import job_paths, sealed_files
from cloudbutton_backend.worker.wire import Buffer

_YOUNG: Final = 0.1
"""Seconds that a job has to have run, whenever the journal happens to be written."""
_BYTES_PER_SECOND: Final = 200e6
"""What writing is reckoned to take, sealing and the disk together."""
_PATIENCE: Final = 1.0
"""Seconds that a job with much to write is kept from being listed, at most."""
_FIRST_PORTION: Final = 16 << 20
"""Bytes of items that are written before a job is listed."""
_CHUNK: Final = 2 << 20
"""Bytes of items that are written at a time, about."""
_FIRST_CHUNK: Final = 64
"""Items in the first chunk, before it is known how large they are."""
_MOST_ITEMS: Final = 50_000
"""In one chunk."""
_MANY: Final = 1 << 62
"""More than there are: a range is written in one piece."""
_LARGE: Final = 64 << 10
"""Of items with more bytes, those that have results are left out."""
_SHARE: Final = 0.1
"""Of the time that a job runs, for writing what is left of its items."""
_MOST_WHEN_DONE: Final = 64 << 20
"""Bytes that a job that is done keeps, to run again whatever result is found damaged."""
_LOOK: Final = 0.1
"""Seconds between checks whether a stream has brought new items."""


class StorableItems(Protocol):
    """Items that can be written to disk."""

    @property
    def n_items(self) -> int | None: ...

    def held(self, first: int, most: int) -> tuple[int, Sequence[Any]]: ...


class CheckpointTooLarge(CloudError):
    """The items of a job are too large to be saved."""


class Checkpoint:
    """Writes what one job needs on disk to be resumed. `begin` once, or `write_all` before it starts.

    Parameters
    ----------
    job
        Makes what is written of the job but its items; called in a thread of its own.
    blobs
        Its large captured values.
    most
        Returns the bytes that it may write.
    warn
        Called with a line for the user.
    """

    def __init__(
        self,
        home: Path,
        run_state: RunState,
        source: StorableItems,
        job: Callable[[], JobFile],
        blobs: Sequence[Blob],
        most: Callable[[], int],
        warn: Callable[[str], None],
    ) -> None:
        self._home = home
        self._run_state = run_state
        self._source = source
        self._job: Callable[[], JobFile] | None = job
        self._blobs = blobs
        self._ask_most = most
        self._warn = warn
        self._most = self._left = 0
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._begun = False
        self._items: ItemsWriter | None = None
        self._next = 0
        """The first item that was not looked at yet."""
        self._per_item = 0.0

    def __repr__(self) -> str:
        condition = "written" if self._begun else "not needed yet"
        return f"<Checkpoint of job {self._run_state.record.id}: {condition}, {self._next} items>"

    # -- from the journal's thread

    @property
    def is_needed(self) -> bool:
        """Whether the job is not done yet, so that there is something to continue."""
        return self._run_state.state is not JobState.DONE

    def begin(self, ready: Callable[[], None]) -> None:
        """Write in a thread of its own; `ready` is called once the job could be continued."""
        threading.Thread(
            target=self._run, args=(ready,), name="cloudbutton-deposit", daemon=True
        ).start()

    # -- when the job has ended, from the driver's thread

    def ended(self, state: JobState) -> None:
        """The job has ended: what is done needs no more written."""
        if state is JobState.DONE:
            self._over.set()
            self._job, self._blobs = None, ()
            # If another thread is writing just now, the driver does not wait: that thread closes it.
            self._close_done(wait=False)

    def _close_done(self, *, wait: bool) -> None:
        """Write no more of a job that is done.

        What is written stays, unless it is large: whatever result is found damaged is run again. A cell's
        loop is run again with its cell instead, so nothing would ever read it.
        """
        # ends: it is held while one chunk is written
        if self._over.is_set() and self._begun and self._lock.acquire(blocking=wait):
            try:
                self._close()
                record = self._run_state.record
                if record.kind == "button" or self._written > _MOST_WHEN_DONE:
                    job_paths.remove_files(self._home, self._run_state.record.id)
            finally:
                self._lock.release()

    # -- before it starts, from the user's thread

    def write_all(self) -> None:
        """Write all of it now: later, there may be no process that could.

        Raises
        ------
        TooMuch
            That would be more than may be written.
        OSError
            The disk refuses.
        """
        try:
            self._write_job()
            while self._write_chunk():
                pass
            assert self._items is not None
            self._finish_items()
        except BaseException:
            self._close()
            job_paths.remove_files(self._home, self._run_state.record.id)
            raise

    # -- writing

    def _run(self, ready: Callable[[], None]) -> None:
        try:
            try:
                self._write_first()
            finally:
                ready()
            self._write_rest()
        except BaseException as error:  # items may raise anything while they are pickled
            self._refuse(error)
        self._close_done(wait=True)

    def _write_first(self) -> None:
        """Write what the job needs before it is listed."""
        self._over.wait(self._patience())
        if self.is_needed:
            self._write_job()
            while self._written < _FIRST_PORTION and self._write_chunk():
                pass
            if self._items is not None:
                self._items.sync()

    @property
    def _written(self) -> int:
        return self._most - self._left

    def _patience(self) -> float:
        """Return how long the job may still take before writing begins."""
        first = self._source.held(0, _FIRST_CHUNK)[1]
        each = 0 if isinstance(first, range) else rough_size(list(first)) / max(1, len(first))
        items = int(each * (self._source.n_items or len(first)))
        fresh = [
            blob.nbytes
            for blob in self._blobs
            if not job_paths.blob_file(self._home, blob.digest).exists()
        ]
        age = time.monotonic() - self._run_state.started
        return max(0.0, _YOUNG - age) + min(_PATIENCE, (items + sum(fresh)) / _BYTES_PER_SECOND)

    def _write_job(self) -> None:
        """Write all but the items."""
        make = self._job
        if make is None:
            return
        job, self._most = make(), self._ask_most()
        self._left = self._most
        blobs = self._blobs
        large = sum(blob.nbytes for blob in blobs)
        if large > self._left:
            raise CheckpointTooLarge(
                f"the values it uses are {size(large)}, and `attach_max_bytes` is {size(self._most)}"
            )
        job_paths.make_directories(self._home)
        for blob in blobs:
            if not self.is_needed:
                return
            job_file.save_blob(self._home, blob)
        self._left -= large
        with self._lock:
            if not self.is_needed:
                return
            self._begun = True
            # The items' file first: a job's file without it would be one without items.
            path = job_paths.items_file(self._home, job.record.id)
            self._items = ItemsWriter(path, sealed_files.key(self._home))
            job_file.save(self._home, job)

    def _write_rest(self) -> None:
        """Write the items that are left, without hurry, until there are no more or the job has ended."""
        while not self._over.is_set() and self._items is not None:
            begin = time.monotonic()
            if self._write_chunk():
                self._over.wait((time.monotonic() - begin) * (1 / _SHARE - 1))
            elif self._is_all():
                self._finish_items()
                return
            elif self._run_state.state.is_final:
                self._close()
                return
            else:
                self._over.wait(_LOOK)

    def _is_all(self) -> bool:
        count = self._source.n_items
        return count is not None and self._next >= count

    def _write_chunk(self) -> bool:
        """Write the next few items, those with results left out; return whether there were any."""
        first, items = self._source.held(self._next, self._fitting())
        if not len(items) or self._items is None:  # it may be an array
            return False
        stop = first + len(items)
        if self._per_item >= _LARGE and (done := self._done_up_to(first)) > first:
            self._next = done
            return True
        is_range = isinstance(items, range)
        parts: list[Buffer] = [pickle.dumps(items, 5)] if is_range else dump_items(items)
        nbytes = total(parts)
        if nbytes > self._left:
            raise CheckpointTooLarge(
                f"its items from {first} on are more than `attach_max_bytes` allows, {size(self._most)}"
            )
        with self._lock:
            if self._over.is_set():
                return False
            self._items.add(first, len(items), parts)
        self._left -= nbytes
        self._per_item = nbytes / len(items)
        self._next = stop
        return True

    def _done_up_to(self, first: int) -> int:
        """Return the end of the stretch of items with results in the job's files that begins at `first`."""
        runs = [
            run for run in only_done(self._run_state.result_store.so_far()) if self._has_it(run)
        ]
        for begin, end in ranges_of(runs):
            if begin <= first < end:
                return end
        return first

    def _has_it(self, run: ResultRange) -> bool:
        """Whether a run lies in the job's own files. What the cache gave does not, and may go any time."""
        path = None if run.entry is None else run.entry.path
        return path is not None and Path(path).name.startswith(f"{self._run_state.record.id}.")

    def _fitting(self) -> int:
        """Return how many items the next chunk may have."""
        if not self._next:
            is_range = isinstance(self._source.held(0, 1)[1], range)
            return _MANY if is_range else _FIRST_CHUNK
        return max(1, min(_MOST_ITEMS, int(_CHUNK / max(1.0, self._per_item))))

    def _finish_items(self) -> None:
        with self._lock:
            count = self._source.n_items
            if self._items is not None and count is not None and not self._over.is_set():
                self._items.end(count)
                self._items.sync()
            self._close()

    def _close(self) -> None:
        if self._items is not None:
            self._items.close()
            self._items = None

    def _refuse(self, error: BaseException) -> None:
        """Warn that the job, or the rest of it, cannot be resumed later; the job goes on."""
        self._close()
        if self._over.is_set():
            return
        reason = str(error) if isinstance(error, CloudError) else f"{type(error).__name__}: {error}"
        self._warn(
            "Should this kernel die, what has results by then is kept, but the rest could not all be"
            f" continued by `%cloud attach`: {reason.splitlines()[0]}"
        )
