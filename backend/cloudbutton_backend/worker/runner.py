"""Runs batches of items and packs what they leave behind."""

from __future__ import annotations

import io
import os
import pickle
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

from cloudpickle import Pickler

from cloudbutton_backend.worker import failures, status
from cloudbutton_backend.worker.context import current
from cloudbutton_backend.worker.guard import Guard
from cloudbutton_backend.worker.output import DescriptorTail, outputs

FLUSH_SECONDS: Final = 0.05
"""Results of a batch under way are sent at least this often."""
_PLAIN: Final = frozenset({int, float, complex, bool, type(None), str, bytes})
_OWN_FILE: Final = __file__


class Interrupted(KeyboardInterrupt):
    """Raised inside the user's code when its job is cancelled."""


@dataclass(slots=True)
class WorkerJob:
    """What this worker knows of a job."""

    id: str
    seed: int
    function: Callable[[Any], Any] | None
    load_error: dict[str, Any] | None
    guard: Guard | None
    results: str
    """Path of this worker's result file of the job."""
    timed: bool
    """Whether items have a time-out."""
    stop_on_error: bool
    """Whether the items after a failed one are not wanted."""
    cwd: str
    environment: dict[Any, Any]


@dataclass(frozen=True, slots=True)
class Parcel:
    """The packed outcome of consecutive items."""

    first: int
    count: int
    meta: dict[str, Any]
    parts: list[Any]


class Sink(Protocol):
    """Where parcels go."""

    def send(self, parcel: Parcel) -> None: ...


def is_plain(values: list[Any]) -> bool:
    """Whether pickling `values` as one list can neither fail here nor there."""
    return all(
        kind in _PLAIN or (kind.__module__ == "numpy" and kind.__name__ in _NUMPY_SCALARS)
        for kind in set(map(type, values))
    )


_NUMPY_SCALARS: Final = frozenset(
    ["bool", "bool_", "float16", "float32", "float64", "complex64", "complex128"]
    + [f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)]
)


def pack_values(
    values: list[Any], on_error: Callable[[int, BaseException], None]
) -> tuple[dict[str, Any], list[Any]]:
    """Pickle `values`; return how, and the parts.

    Plain values go as one list. Others are pickled one after the other, each whole in
    itself, so that one which cannot be pickled here or unpickled there spoils no other.
    """
    if is_plain(values):
        return {}, [pickle.dumps(values, 5)]
    file = io.BytesIO()
    buffers: list[pickle.PickleBuffer] = []
    pickler = Pickler(file, 5, buffer_callback=buffers.append)
    index: list[tuple[int, int]] = []
    """(end of its pickle, end of its buffers) of each value"""
    for position, value in enumerate(values):
        start, n_buffers = file.tell(), len(buffers)
        pickler.clear_memo()
        try:
            pickler.dump(value)
        except Exception as error:
            file.seek(start)
            file.truncate()
            del buffers[n_buffers:]
            on_error(position, error)
            pickler = Pickler(file, 5, buffer_callback=buffers.append)
            pickler.dump(None)
        index.append((file.tell(), len(buffers)))
    return {"index": index}, [file.getbuffer(), *buffers]


class Runner:
    """Runs batches one after the other in this process."""

    def __init__(self, words: memoryview, tail: DescriptorTail | None) -> None:
        self._words = words
        self._tail = tail
        self.forked: list[bool] = []
        """Not empty in a process that the user's code forked off this one."""

    def run(
        self, job: WorkerJob, base: int, first: int, items: Any, sink: Sink
    ) -> tuple[int, bool]:
        """Run `items`; return how many ran, and whether the rest was revoked.

        Parameters
        ----------
        base
            The ordinal of the first item.
        first
            Its index in the job.
        """
        words, function, forked = self._words, job.function, self.forked
        assert function is not None
        clock = time.perf_counter
        current.job_id, current.seed = job.id, job.seed
        done = 0
        values: list[Any] = []
        errors: dict[int, dict[str, Any]] = {}
        stopped = False
        mark = clock()
        cpu_mark = time.process_time()
        deadline = mark + FLUSH_SECONDS
        ordinal, index = base, first
        words[status.BUSY] = 1
        try:
            for item in items:
                words[0] = ordinal
                if words[1] <= ordinal < words[2]:
                    stopped = True
                    break
                if clock() > deadline:
                    words[status.BUSY] = 0
                    self._send(job, sink, first + done, values, errors, mark, cpu_mark)
                    done += len(values)
                    values, errors = [], {}
                    mark, cpu_mark = clock(), time.process_time()
                    deadline = mark + FLUSH_SECONDS
                    words[status.BUSY] = 1
                if job.timed:
                    words[status.SINCE] = time.monotonic_ns()
                current.index = index
                try:
                    values.append(function(item))
                except Interrupted:
                    raise
                except BaseException as error:
                    errors[len(values)] = failures.describe(error, item, _OWN_FILE)
                    values.append(None)
                    if job.stop_on_error:
                        stopped = True
                        break
                if forked:
                    os._exit(0)
                ordinal += 1
                index += 1
        except Interrupted:
            stopped = True
        finally:
            words[status.BUSY] = 0
        if values:
            self._send(job, sink, first + done, values, errors, mark, cpu_mark, items)
        outputs.take()  # what an interrupted item printed
        current.index = -1
        return done + len(values), stopped

    def _send(
        self,
        job: WorkerJob,
        sink: Sink,
        first: int,
        values: list[Any],
        errors: dict[int, dict[str, Any]],
        started: float,
        cpu_started: float,
        items: Any = None,
    ) -> None:
        """Pack and send what ran since the last time."""
        seconds = time.perf_counter() - started
        meta: dict[str, Any] = {
            "t": time.time() - seconds,
            "dt": seconds,
            "cpu": time.process_time() - cpu_started,
        }
        if "matplotlib.pyplot" in sys.modules:
            from cloudbutton_backend.worker.pictures import flush_figures

            flush_figures()
        if self._tail is not None:
            self._tail.collect()

        def unsendable(position: int, error: BaseException) -> None:
            errors[position] = failures.not_sendable(
                values[position], f"item {first + position}", error
            )

        how, parts = pack_values(values, unsendable)
        meta.update(how)
        caught = outputs.take()
        if caught:
            meta["outputs"] = caught
        if errors:
            meta["errors"] = errors
        if job.guard is not None:
            changed = job.guard.changed()
            if changed:
                meta["changed"] = changed
        sink.send(Parcel(first, len(values), meta, parts))
