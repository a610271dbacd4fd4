"""Runs batches of items and packs what they leave behind."""

from __future__ import annotations

import io
import os
import pickle
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

from cloudbutton_backend.worker import failures, status_page
from cloudbutton_backend.worker.atoms import PLAIN
from cloudbutton_backend.worker.batch_meta import BatchMeta
from cloudbutton_backend.worker.context import current
from cloudbutton_backend.worker.output import DescriptorTail, outputs
from cloudbutton_backend.worker.pickling import Pickler
from cloudbutton_backend.worker.process_state import ProcessState
from cloudbutton_backend.worker.watch import Guard

FLUSH_SECONDS: Final = 0.05
"""Results that are ready are not kept from the kernel much longer than this."""
_OWN_FILE: Final = __file__


class Interrupted(KeyboardInterrupt):
    """Raised inside the user's code when its job is cancelled."""


@dataclass(slots=True)
class WorkerJob:
    """A job in this worker."""

    id: str
    seed: int
    function: Callable[[Any], Any] | None
    load_error: failures.PackedError | None
    guard: Guard | None
    results: str
    """Path of this worker's result file of the job; empty where all results go through the socket."""
    results_key: bytes
    """Seals the records of that file."""
    timed: bool
    """Whether items have a time-out."""
    stop_on_error: bool
    """Whether the items after a failed one are not wanted."""
    cwd: str
    environment: dict[Any, Any]
    state: ProcessState
    """What the notebook's process has set for itself."""


@dataclass(frozen=True, slots=True)
class PackedResult:
    """The packed outcome of consecutive items."""

    first: int
    count: int
    meta: BatchMeta
    parts: list[Any]
    is_last: bool = False
    """Whether the end of the batch is reported next."""


class ResultSink(Protocol):
    """Receives the results."""

    def send(self, parcel: PackedResult) -> None: ...


def was_importing(error: BaseException) -> bool:
    """Whether `error` was raised while a module was being imported."""
    trace = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        if code.co_name == "<module>" or code.co_filename.startswith("<frozen importlib"):
            return True
        trace = trace.tb_next
    return False


def _drop_figures() -> None:
    if "matplotlib.pyplot" in sys.modules:
        from cloudbutton_backend.worker.mpl_backend import drop_figures

        drop_figures()


def is_plain(values: list[Any]) -> bool:
    """Whether pickling `values` as one list can neither fail here nor there."""
    return all(
        kind in PLAIN or (kind.__module__ == "numpy" and kind.__name__ in _NUMPY_SCALARS)
        for kind in set(map(type, values))
    )


_NUMPY_SCALARS: Final = frozenset(
    ["bool", "bool_", "float16", "float32", "float64", "complex64", "complex128"]
    + [f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)]
)


def pack_values(
    values: list[Any], on_error: Callable[[int, BaseException], None]
) -> tuple[list[tuple[int, int]] | None, list[Any]]:
    """Pickle `values`; return where each ends (see `BatchMeta.ends`), and the parts.

    Plain values go as one list. Others are pickled one after the other, each whole in
    itself, so that one which cannot be pickled here or unpickled there spoils no other.
    """
    if is_plain(values):
        return None, [pickle.dumps(values, 5)]
    file = io.BytesIO()
    buffers: list[pickle.PickleBuffer] = []
    pickler = Pickler(file, 5, buffer_callback=buffers.append)
    ends: list[tuple[int, int]] = []
    for position, value in enumerate(values):
        start, n_buffers = file.tell(), len(buffers)
        pickler.clear_memo()
        try:
            pickler.dump(value)
        except BaseException as error:  # its own pickling may raise what it likes
            file.seek(start)
            file.truncate()
            del buffers[n_buffers:]
            on_error(position, error)
            pickler = Pickler(file, 5, buffer_callback=buffers.append)
            pickler.dump(None)
        ends.append((file.tell(), len(buffers)))
    return ends, [file.getbuffer(), *buffers]


def _schedule() -> int:
    try:
        return os.open("/proc/self/schedstat", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return -1


_SCHEDULE: Final = _schedule()


def run_delay() -> float:
    """Return the seconds that this process's main thread has waited for a CPU; 0 if unknown.

    What others made it wait is no part of what a serial run would have taken.
    """
    if _SCHEDULE < 0:
        return 0.0
    try:
        return int(os.pread(_SCHEDULE, 100, 0).split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return 0.0


def _as_it_is(item: Any) -> Any:
    return item


class _Batch:
    """The batch being run: what it has produced, and how much of that was sent."""

    __slots__ = (
        "cpu_mark",
        "delay_mark",
        "errors",
        "first",
        "job",
        "mark",
        "sent",
        "sink",
        "values",
        "waits",
    )

    def __init__(self, job: WorkerJob, first: int, sink: ResultSink) -> None:
        self.job, self.first, self.sink = job, first, sink
        self.values: list[Any] = []
        self.errors: dict[int, failures.PackedError] = {}
        self.sent = 0
        self.waits = False
        """Whether its results are sent at its end only."""
        self.mark = time.perf_counter()
        self.cpu_mark = time.process_time()
        self.delay_mark = run_delay()


class BatchRunner:
    """Runs batches one after the other in this process.

    Results are sent when the batch ends. A second thread, asleep between batches, sends what is
    ready when an item takes long, so that finished results never wait behind a slow one. The two share
    a batch: the first only appends to its values, and the sender holds the lock.
    """

    def __init__(self, words: memoryview, tail: DescriptorTail | None) -> None:
        self._words = words
        self._tail = tail
        self._batch: _Batch | None = None
        self._sending = threading.Lock()
        self._busy = threading.Event()
        self.is_spoilt = False
        """Whether an interrupt ended an import: modules that are half there fail ever after."""
        self.forked: list[bool] = []
        """Not empty in a process that the user's code forked off this one."""
        threading.Thread(target=self._send_early, name="cloudbutton-results", daemon=True).start()

    def run(self, job: WorkerJob, base: int, first: int, items: Any, sink: ResultSink) -> int:
        """Run `items`; return how many ran: the rest was revoked.

        Parameters
        ----------
        base
            The ordinal of the first item.
        first
            Its index in the job.
        """
        words, function, forked, timed = self._words, job.function, self.forked, job.timed
        assert function is not None
        # A function that wraps its items may say what the user calls them.
        shown = getattr(function, "shown_item", _as_it_is)
        here = current
        here.job_id, here.seed, here.first = job.id, job.seed, first
        here.drew.clear()
        batch = _Batch(job, first, sink)
        values = batch.values
        add = values.append
        self._batch = batch
        self._busy.set()
        here.values = values
        words[status_page.BUSY] = 1
        try:
            for ordinal, item in enumerate(items, base):
                if timed:  # stored first, so that the last item's start is not taken for this one's
                    words[status_page.SINCE] = time.monotonic_ns()
                words[0] = ordinal  # status.CURRENT, HIGH and LOW: this loop's speed is the pool's
                if ordinal < words[2] and ordinal >= words[1]:
                    break
                try:
                    add(function(item))
                except Interrupted:
                    raise
                except BaseException as error:
                    if forked:  # a child of the task: what it raised is not the item's
                        os._exit(1)
                    _drop_figures()
                    batch.errors[len(values)] = failures.describe(error, shown(item), _OWN_FILE)
                    add(None)
                    if job.stop_on_error:
                        break
                if forked:
                    os._exit(0)
        except Interrupted as interrupt:
            self.is_spoilt = self.is_spoilt or was_importing(interrupt)
            _drop_figures()
        finally:
            words[status_page.BUSY] = 0
            self._busy.clear()
        with self._sending:
            self._batch = None
            here.at(first + len(values) - 1)
            if batch.sent < len(values):
                self._send(batch, len(values))
        outputs.take()  # what an interrupted item printed
        here.at(-1)
        return len(values)

    def _send_early(self) -> None:
        """Send finished results while an item takes long (on a thread of its own)."""
        while True:
            self._busy.wait()  # ends: with the next batch; a daemon thread, it goes with the process
            time.sleep(FLUSH_SECONDS)
            with self._sending:
                batch = self._batch
                if batch is None or batch.waits or time.perf_counter() - batch.mark < FLUSH_SECONDS:
                    continue
                ready = len(batch.values)
                if ready > batch.sent:
                    self._send(batch, ready)

    def _send(self, batch: _Batch, stop: int) -> None:
        """Pack and send the results up to `stop`; the lock must be held."""
        job, start = batch.job, batch.sent
        values = batch.values[start:stop]
        errors = {at - start: error for at, error in batch.errors.items() if start <= at < stop}
        now, cpu = time.perf_counter(), time.process_time()
        seconds = now - batch.mark
        whole = self._batch is None
        first = batch.first + start

        def unsendable(position: int, error: BaseException) -> None:
            errors[position] = failures.not_sendable(
                values[position], f"item {first + position}", error
            )

        n_failed = len(errors)
        ends, parts = pack_values(values, unsendable)
        if len(errors) > n_failed and not whole:
            # The item now running may have been changing what an earlier one returned.
            batch.waits = True
            return
        delay = run_delay()
        meta = BatchMeta(
            started=time.time() - seconds,
            seconds=seconds,
            cpu=cpu - batch.cpu_mark,
            delay=max(0.0, delay - batch.delay_mark),
            ends=ends,
            errors=errors,
            early=not whole,
        )
        batch.mark, batch.cpu_mark, batch.delay_mark, batch.sent = now, cpu, delay, stop
        if whole and "matplotlib.pyplot" in sys.modules:
            from cloudbutton_backend.worker.mpl_backend import flush_figures

            try:
                flush_figures()
            except Exception as error:  # as in a notebook, whose cell has its values all the same
                text = f"a figure could not be drawn: {type(error).__name__}: {error}"
                outputs.text("stderr", text + "\n")
        if whole and self._tail is not None:
            self._tail.collect()
        meta.outputs = outputs.take(batch.first + stop)
        drew = sum(index < batch.first + stop for index in current.drew)
        if drew:
            meta.drew = current.drew[:drew]
            del current.drew[:drew]
        if whole and job.guard is not None:
            meta.changed = job.guard.changed()
        batch.sink.send(PackedResult(first, len(values), meta, parts, whole))
        batch.values[start:stop] = [None] * (stop - start)
