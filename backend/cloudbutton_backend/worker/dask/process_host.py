"""Runs inside a Dask worker: each call in a process of its own, for which a thread of Dask's waits.

::

    Dask worker: a thread for each task                     a process for each task under way, kept between
    ───────────────────────────────────                     ─────────────────────────────────────────────
    ProcessHost ─▶ CallRunner: time-outs, deaths ─socket──▶ the local worker's loop: prints, figures,
                ◀─ records, how the call ended ◀──────────  directory, environment, signals are its own
    values: Dask's data ─▶ BlobCache: files ───────fd─────▶ mapped read-only, by all processes
"""

from __future__ import annotations

import math
import os
import pickle
import subprocess
import sys
import tempfile
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, Final, TypedDict

from cloudbutton_backend.worker.blob_cache import BlobCache
from cloudbutton_backend.worker.call_end import CallReport
from cloudbutton_backend.worker.call_runner import TICK, CallRunner
from cloudbutton_backend.worker.child_process import (
    ChildProcess,
    ProcessEnds,
    exceed,
    exec_worker,
)
from cloudbutton_backend.worker.messages import JobMessage
from cloudbutton_backend.worker.sealed_records import open_records, sealed_report
from cloudbutton_backend.worker.wire import split

_KEEP_IDLE: Final = 300.0
"""Seconds for which a process waits for its next call."""
_KEEP_CANCELLED: Final = 10_000
"""Calls that must not begin, of those that may never come here."""
_FULL: Final = 0.95
"""Of the Dask worker's memory that may be used."""
_KEEP_BYTES: Final = 4 << 30
"""Captured values that are kept, beyond what is in use."""
_MiB: Final = 1 << 20


class JobFields(TypedDict):
    """A job as it travels: by name, as the other end may have imported this code under another name."""

    id: str
    """Of the job and its function."""
    key: bytes
    """With which records are sealed."""
    payload: bytes
    """The captured function."""
    seed: int
    guard: str
    timeout: float | None
    memory: int | None
    """MiB that its process may use; None for what the Dask worker has."""
    stop_on_error: bool
    displays: bool
    cwd: str
    environment: dict[str, str] | None
    """None for the Dask worker's, with `variables`."""
    variables: dict[str, str]
    path: tuple[str, ...] | None
    """For `sys.path`; None for the Dask worker's."""


class CallFields(TypedDict):
    """A call as it travels."""

    name: str
    key: str
    """Of the task of Dask's that makes it."""
    batch: int
    first: int
    count: int
    skip: int
    """How many of the items come before its own."""
    lease: float | None


class _CallWithItems(CallFields):
    items: bytes


@dataclass(frozen=True, slots=True)
class HostedCall:
    """One call, as `CallRunner` wants to know it, and the job it belongs to."""

    job_id: str
    key: bytes
    batch: int
    first: int
    count: int
    timeout: float | None
    stop_on_error: bool
    job: JobFields
    blobs: Mapping[str, bytes]


class Slot:
    """The process for one call at a time."""

    def __init__(self, process_host: ProcessHost) -> None:
        self._process_host = process_host
        self.memory = 0
        """MiB that it may have for the call under way; 0 for what the Dask worker has."""
        self.uses: Set[str] = frozenset()
        """Digests of the captured values of that call."""
        self.child: ChildProcess | None = None
        self.idle_since = 0.0

    def ensure_started(self, most: int) -> list[ChildProcess]:
        """Return the process, alive."""
        if self.child is not None and self.child.has_ended():
            self.reap(self.child)
        if self.child is None:
            self.child = ChildProcess(self._process_host.start_process)
        return [self.child]

    def reap(self, child: ChildProcess) -> None:
        """Forget a process that has ended."""
        child.dispose()
        self.child = None

    def end(self) -> None:
        """End the process, which runs nothing."""
        if self.child is not None:
            self.child.end()
            self.reap(self.child)

    def is_full(self, children: Sequence[ChildProcess]) -> bool:
        """Whether the process has more memory than it may."""
        (child,) = children
        if self.memory and exceed([child.pid], self.memory * _MiB):
            return True
        return self._process_host.must_end(child)

    def send_job(self, child: ChildProcess, call: HostedCall) -> None:
        """Tell the process of a job, unless it knows it."""
        if child.knows(call.job_id):
            return
        for digest, data in call.blobs.items():
            if digest not in child.blobs:
                fd = self._process_host.blob_file(digest, data)
                child.map_blob(digest, fd, len(data))
        job = call.job
        environment = job["environment"]
        message = JobMessage(
            job_id=call.job_id,
            seed=job["seed"],
            guard=job["guard"],
            results="",
            results_key=b"",
            timed=call.timeout is not None,
            cwd=job["cwd"],
            environment={**os.environ, **job["variables"]} if environment is None else environment,
            path=job["path"],
            displays=job["displays"],
            stop_on_error=call.stop_on_error,
        )
        child.open_job(message, job["payload"])


class ProcessHost:
    """The processes beside one Dask worker. Safe from any thread.

    Parameters
    ----------
    folder
        Where our code lies, if it was brought here; None if it is installed.
    scratch
        A folder on disk, for captured values.
    threads
        Of the Dask worker.
    memory
        Bytes that it may use with all processes beside it; 0 for any number.
    """

    def __init__(self, folder: str | None, scratch: str, threads: int, memory: int) -> None:
        self._folder, self._threads, self._memory = folder, threads, memory
        self._scratch = scratch
        self._blobs = BlobCache[int](_KEEP_BYTES, os.close)
        """Files without names that all processes map."""
        self._blob_lock = threading.Lock()
        self._lock = threading.Lock()
        self._slots: set[Slot] = set()
        self._idle: list[Slot] = []
        self._cancelled: OrderedDict[str, None] = OrderedDict()
        """Calls that must stop, or not begin."""
        self._idle_timer: threading.Timer | None = None
        self._closed = False

    def start_process(self, ends: ProcessEnds) -> subprocess.Popen[bytes]:
        """Start a worker process on our code."""
        path = [entry for entry in sys.path if entry != self._folder]
        if self._folder is not None:
            path.insert(0, self._folder)
        return exec_worker(ends, path, stub=self._folder is not None)

    # -- calls

    def run(
        self,
        call: _CallWithItems,
        job: JobFields,
        blobs: Mapping[str, bytes],
        is_released: Callable[[], bool],
    ) -> bytes:
        """Run a call's items; return sealed records, the last of which tells how it ended.

        Parameters
        ----------
        is_released
            Asked now and then: whether Dask wants the call no more.
        """
        begin = time.monotonic()
        name = call["name"]
        hosted = HostedCall(
            job_id=job["id"],
            key=job["key"],
            batch=call["batch"],
            first=call["first"],
            count=call["count"],
            timeout=job["timeout"],
            stop_on_error=job["stop_on_error"],
            job=job,
            blobs=blobs,
        )
        slot = self._acquire_slot()
        slot.memory, slot.uses = job["memory"] or 0, blobs.keys()
        until = math.inf if call["lease"] is None else begin + call["lease"]

        def is_cancelled() -> bool:
            return name in self._cancelled or is_released()

        runner = CallRunner(slot, hosted, until, "lease", is_cancelled, TICK)
        pieces: list[Any] = []
        try:
            if is_cancelled():
                runner.ending.why = "cancelled"
            else:
                pieces += runner.run(call["items"], call["skip"])
        finally:
            self._release_slot(slot)
            self._cancelled.pop(name, None)
        report = CallReport(
            hosted.batch,
            runner.ending,
            seconds=time.monotonic() - begin,
            threads=self._threads,
            memory=slot.memory or self._memory // _MiB,
        )
        pieces += sealed_report(report, hosted.first, hosted.key)
        return b"".join(pieces)

    def blob_file(self, digest: str, data: bytes) -> int:
        """Return the descriptor of a file with a value that a call under way uses."""

        def write() -> int:
            with tempfile.TemporaryFile(dir=self._scratch) as file:
                file.write(data)
                file.flush()
                return os.dup(file.fileno())

        with self._blob_lock:  # what a call says that it uses is not dropped once it is here
            fd = self._blobs.get(digest, len(data), write)
            with self._lock:
                used = {each for slot in self._slots for each in slot.uses}
            self._blobs.evict(used)  # processes that map one keep it
            return fd

    @staticmethod
    def value_of(answer: bytes, key: bytes, index: int) -> Any:
        """Return an item's value out of what `run` returned."""
        for record, payload in open_records(answer, key, "a call's answer"):
            if isinstance(record, CallReport) or not 0 <= index - record.first < record.count:
                continue
            at, ends = index - record.first, record.meta.ends
            stream, *buffers = split(memoryview(bytearray(payload)))
            if ends is None:  # plain values, in one list
                return pickle.loads(stream, buffers=buffers)[at]
            start, n_buffers = ends[at - 1] if at else (0, 0)
            stop, stop_buffers = ends[at]
            return pickle.loads(stream[start:stop], buffers=buffers[n_buffers:stop_buffers])
        raise LookupError(f"item {index} is not in this answer")

    def stop(self, names: Sequence[str]) -> None:
        """Stop calls that run here, or would."""
        with self._lock:
            self._cancelled.update(dict.fromkeys(names))
            while len(self._cancelled) > _KEEP_CANCELLED:
                self._cancelled.popitem(last=False)

    def must_end(self, child: ChildProcess) -> bool:
        """Whether all here have more memory than the Dask worker may, and this process has the most.

        The system would end any of them, or Dask's nanny the Dask worker with all that it holds.
        """
        if not self._memory:
            return False
        with self._lock:
            children = [slot.child for slot in self._slots if slot.child is not None]
        if not exceed([os.getpid(), *(each.pid for each in children)], _FULL * self._memory):
            return False
        return child is max(children, key=ChildProcess.memory)

    # -- processes

    def _acquire_slot(self) -> Slot:
        with self._lock:
            if self._closed:
                raise RuntimeError("this Dask worker is closing")
            slot = self._idle.pop() if self._idle else Slot(self)
            self._slots.add(slot)
            return slot

    def _release_slot(self, slot: Slot) -> None:
        with self._lock:
            slot.idle_since, slot.uses = time.monotonic(), frozenset()
            if self._closed:
                slot.end()
                return
            self._idle.append(slot)
            if self._idle_timer is None:
                self._start_idle_timer()

    def _start_idle_timer(self) -> None:
        self._idle_timer = threading.Timer(_KEEP_IDLE, self._end_idle)
        self._idle_timer.daemon = True
        self._idle_timer.start()

    def _end_idle(self) -> None:
        """End processes that were idle for long: others use the cluster, too."""
        until = time.monotonic() - _KEEP_IDLE
        with self._lock:
            for slot in [slot for slot in self._idle if slot.idle_since <= until]:
                self._idle.remove(slot)
                self._slots.discard(slot)
                slot.end()
            self._idle_timer = None
            if self._idle and not self._closed:
                self._start_idle_timer()

    def close(self) -> None:
        """End all processes. Safe to repeat."""
        with self._lock:
            self._closed = True
            if self._idle_timer is not None:
                self._idle_timer.cancel()
            for slot in self._slots.difference(self._idle):
                if slot.child is not None:
                    slot.child.kill("died")  # the thread that uses it will see
            for slot in self._idle:
                slot.end()
            self._slots.clear()
            self._idle.clear()
        self._blobs.close()
