"""A pool of worker processes on this machine, driven without blocking.

::

    driver thread                                    worker process (one of n)
    ─────────────                                    ─────────────────────────
    submit ──▶ socket: header, small items  ───────▶ unpickle, run item by item
           └─▶ shared segment: large items ·········▶ (mapped once, pages stay warm)
    open_job ─▶ socket: function, once ────────────▶ load
    put ──▶ anonymous file: large value ···········▶ (mapped read-only, unpickled once a job)
    poll ◀── socket: small results, references ◀──── pack
                   large results ··················▶ the job's result file, mapped by the reader
    revoke ─▶ shared page ◀························▶ current item, what must not start
    interrupt ─▶ SIGINT, soon SIGKILL
"""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import time
from collections.abc import Callable, Iterable, Sequence, Set
from dataclasses import dataclass
from typing import Final

from cloudbutton_backend.worker import messages as m
from cloudbutton_backend.worker import status_page
from cloudbutton_backend.worker.batch_meta import BatchMeta
from cloudbutton_backend.worker.pool.cpu_count import thread_limits
from cloudbutton_backend.worker.pool.protocol import (
    BackendDown,
    BatchCall,
    BatchEnded,
    Blob,
    JobSpec,
    Overdue,
    PoolEvent,
    Results,
    Revoked,
    WorkerDown,
    WorkerUp,
)
from cloudbutton_backend.worker.pool.shared_data import SharedArena, SharedBlobs
from cloudbutton_backend.worker.pool.worker_process import BatchInWorker, WorkerProcess
from cloudbutton_backend.worker.shared_memory import SharedRegion
from cloudbutton_backend.worker.wire import layout

INLINE: Final = 64 * 1024
"""Items larger than this travel through shared memory."""
FORGET_AFTER: Final = 0.2
"""Seconds after a job when idle workers forget it; telling them at once would delay the next one."""
GRACE: Final = 0.3
"""Seconds between a gentle interrupt and the end by force."""
SETTLE: Final = 0.001
"""Seconds after which a revocation is sure to be seen, see `worker.status_page`."""
START_TIMEOUT: Final = 60.0
MAX_FAILED_STARTS: Final = 5
"""After this many in a row, no other worker is started before the next job."""
MAX_WORKERS: Final = 256
_CHECK: Final = 0.05
"""Seconds between checks of time-outs and memory, while something is running."""


@dataclass(frozen=True, slots=True)
class _Revocation:
    """Ordinals ``[low, high)`` that a worker was told not to start."""

    due: float
    """When it is sure to have seen that."""
    worker: WorkerProcess
    low: int
    high: int
    job_id: str | None
    """The job that is interrupted, if one is."""


class WorkerPool:
    """Worker processes, as many as are wanted.

    Parameters
    ----------
    workers
        How many.
    name
        What their names begin with.
    room
        Bytes for captured values that no job uses; None for a quarter of the machine's memory.
    stub
        Whether `cloudbutton_ext` is not installed for them, see `loop.stub_extension`.
    clock
        Seconds that only go forward.
    """

    def __init__(
        self,
        workers: int,
        *,
        name: str = "local",
        room: int | None = None,
        stub: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self._stub = stub
        self._size = self._usual = workers
        self._clock = clock
        self._workers: dict[str, WorkerProcess] = {}
        self._count = 0
        self._selector = selectors.DefaultSelector()
        self._alarm, self._wakeup = socket.socketpair()
        self._alarm.setblocking(False)
        self._wakeup.setblocking(False)
        self._selector.register(self._alarm, selectors.EVENT_READ, self._silence)
        self._jobs: dict[str, JobSpec] = {}
        self._arena = SharedArena()
        self._blobs = SharedBlobs(room)
        self._imported: list[str] = []
        self._base_environment: dict[str, str] | None = None
        self._environment_size = 0
        self._worker_environment: dict[str, str] = {}
        self._events: list[PoolEvent] = []
        self._settling: list[_Revocation] = []
        self._failed_starts = 0
        self._next_check = 0.0
        self._forget_at: float | None = None
        self._closed = False
        self._pid = os.getpid()

    def __repr__(self) -> str:
        up = sum(worker.up for worker in self._workers.values())
        return f"<{type(self).__name__}: {up} of {self._size} workers up>"

    # -- workers

    def start(self) -> None:
        while len(self._workers) < self._size and not self._closed and self._start_worker():
            pass

    def scale(self, workers: int) -> None:
        """Ensure that there are at least this many workers."""
        self._size = max(self._size, min(workers, MAX_WORKERS))
        self.start()

    def _environment(self, base: dict[str, str]) -> dict[str, str]:
        """Return what workers get for a kernel's environment; the same object for the same one."""
        if base is not self._base_environment or self._size != self._environment_size:
            self._base_environment, self._environment_size = base, self._size
            self._worker_environment = {**base, **thread_limits(base, self._size)}
        return self._worker_environment

    def _start_worker(self) -> bool:
        """Start a worker; return False if the system cannot have another."""
        self._count += 1
        try:
            environment = self._environment(dict(os.environ))
            worker = WorkerProcess(f"{self.name}-{self._count}", environment, stub=self._stub)
        except OSError as error:
            self._failed_starts += 1
            if not self._workers:  # else those that are there do the work
                self._events.append(BackendDown(f"no worker process can be started: {error}"))
            return False
        worker.force_at = self._clock() + START_TIMEOUT
        self._workers[worker.name] = worker
        self._selector.register(worker.socket, selectors.EVENT_READ, worker)
        if worker.pidfd >= 0:
            self._selector.register(worker.pidfd, selectors.EVENT_READ, worker)
        # Many more workers than CPUs would spend their first seconds on imports that may not be needed.
        if self._imported and len(self._workers) <= self._usual:
            worker.post(m.ImportsMessage(tuple(self._imported)))
        return True

    def _reap(self, worker: WorkerProcess) -> None:
        """Report a dead worker and start another if there is work."""
        self._read(worker)  # what it sent before it died counts
        self._selector.unregister(worker.socket)
        if worker.pidfd >= 0:
            self._selector.unregister(worker.pidfd)
        del self._workers[worker.name]
        self._settling = [each for each in self._settling if each.worker is not worker]
        assert worker.death is not None
        cause = worker.death.explain()
        where = worker.current() if worker.is_busy else None
        reason = worker.kill_reason or "died"
        if reason == "memory" and where is not None:
            limit = self._jobs[where[0].job_id].memory
            cause = f"it used more memory than its limit of {limit} MiB; {cause.partition('; ')[2]}"
        if not worker.up and worker.kill_reason in (None, "died"):  # "died": it was not up in time
            self._failed_starts += 1
        for held in worker.held.values():
            if held.slot is not None:
                self._arena.drop(held.slot)
                self._forget_segment(held.slot)
        batch = where[0].batch if where else next(iter(worker.held), None)
        self._events.append(
            WorkerDown(worker.name, cause, batch, where[1] if where else None, reason)
        )
        worker.dispose()
        if self._failed_starts < MAX_FAILED_STARTS:
            self.start()
        elif not any(worker.up for worker in self._workers.values()):
            self._events.append(BackendDown(f"workers die while they start; the last one: {cause}"))

    # -- requests

    def put(self, blob: Blob) -> None:
        self._blobs.region(blob)

    def adopt(self, digest: str, region: SharedRegion) -> None:
        """Take a large value that is in shared memory already."""
        self._blobs.adopt(digest, region)

    def drop(self, digests: Iterable[str]) -> None:
        """Drop large values that no open job uses."""
        for digest in digests:
            self._blobs.remove(digest)
        self._forget_blobs(set(digests))

    def _trim_blobs(self) -> None:
        """Drop the large values for which there is no room."""
        used = {blob.digest for spec in self._jobs.values() for blob in spec.blobs}
        self._forget_blobs(set(self._blobs.evict(used)))

    def _forget_blobs(self, dropped: Set[str]) -> None:
        for worker in self._workers.values():
            if worker.blobs & dropped:
                worker.post(m.ForgetMessage(blobs=tuple(worker.blobs & dropped)))
                worker.blobs -= dropped

    def open_job(self, spec: JobSpec) -> None:
        self._jobs[spec.id] = spec
        self._failed_starts = 0
        self.start()

    def close_job(self, job_id: str) -> None:
        self._jobs.pop(job_id, None)
        for worker in self._workers.values():
            if job_id in worker.jobs:
                del worker.jobs[job_id]
                worker.ended.append(job_id)
        self._forget_at = self._clock() + FORGET_AFTER
        self._trim_blobs()

    def _forget_jobs(self, worker: WorkerProcess) -> None:
        """Make a worker forget ended jobs: with its next job, or when it is idle."""
        if worker.ended:
            worker.queue(m.ForgetMessage(jobs=tuple(worker.ended)))
            worker.ended.clear()

    def warm(self, modules: Sequence[str]) -> None:
        fresh = [name for name in modules if name not in self._imported]
        self._imported += fresh
        if fresh:
            for worker in self._workers.values():
                worker.post(m.ImportsMessage(tuple(fresh)))

    def _send_job(self, worker: WorkerProcess, spec: JobSpec) -> None:
        """Tell a worker of a job, before its first batch of it."""
        self._forget_jobs(worker)
        for blob in spec.blobs:
            if blob.digest not in worker.blobs:
                region = self._blobs.region(blob)
                message = m.BlobMessage(blob.digest, region.nbytes, region.tag)
                worker.queue(message, (), region.fds)
                worker.blobs.add(blob.digest)
        environment = self._environment(spec.environment)
        same = environment is worker.environment or environment == worker.environment
        new_environment = None if same else environment
        new_path = spec.path if spec.path != worker.path else None
        worker.environment, worker.path = environment, spec.path
        job = m.JobMessage(
            job_id=spec.id,
            seed=spec.seed,
            guard=spec.guard,
            results=spec.results and f"{spec.results}.{worker.name}-{worker.pid}.seg",
            results_key=spec.results_key,
            timed=spec.timeout is not None,
            cwd=spec.cwd,
            environment=new_environment,
            path=new_path,
            displays=spec.displays,
            stop_on_error=spec.stop_on_error,
        )
        worker.queue(job, (spec.payload,))
        worker.jobs[spec.id] = None

    def submit(self, call: BatchCall) -> None:
        worker = self._workers.get(call.worker)
        if worker is None:  # it died since; its WorkerDown, on the way, covers this batch too
            return
        if call.job_id not in worker.jobs:
            self._send_job(worker, self._jobs[call.job_id])
        pieces, length = layout(call.parts)
        slot = place = None
        if length > INLINE:
            slot, region = self._arena.take(length)
            region.write(0, pieces)
            if slot not in worker.segments:
                segment = m.SegmentMessage(slot, region.nbytes, region.tag)
                worker.queue(segment, (), region.fds)
                worker.segments.add(slot)
            place, pieces = (slot, 0, length), []
        held = BatchInWorker(
            call.batch, call.job_id, worker.next_ordinal, call.first, call.count, slot
        )
        worker.next_ordinal += call.count
        worker.held[call.batch] = held
        message = m.BatchMessage(
            call.batch, call.job_id, held.base, call.first, call.count, place=place
        )
        worker.post(message, pieces)

    def revoke(self, worker: str, keep: int) -> None:
        process = self._workers.get(worker)
        if process is None or not process.held:
            return
        ordinal = process.words[status_page.CURRENT]
        oldest = min(held.base for held in process.held.values())
        begun = ordinal + 1 if ordinal != status_page.NEVER and ordinal >= oldest else oldest
        self._forbid(process, begun + keep)

    def _forbid(self, worker: WorkerProcess, low: int, job_id: str | None = None) -> None:
        high = worker.next_ordinal
        low = status_page.revoke(worker.words, low, high)
        self._settling.append(_Revocation(self._clock() + SETTLE, worker, low, high, job_id))

    def _settle(self, revocation: _Revocation) -> None:
        """Report the items that a revocation, now seen by the worker, took back.

        An item that began in between was not seen running when its job was interrupted. What was sent
        in between, by ordinals from `high` on, was not taken back.
        """
        worker, low, job_id = revocation.worker, revocation.low, revocation.job_id
        ordinal = worker.words[status_page.CURRENT]
        if (
            job_id is not None
            and ordinal < revocation.high
            and self._interrupt_item(worker, job_id)
        ):
            worker.interrupt()
        if ordinal != status_page.NEVER:
            low = max(low, ordinal + 1)
        for held in worker.held.values():
            start, stop = max(low, held.base), min(held.base + held.count, revocation.high)
            if start < stop:
                first = held.first + start - held.base
                self._events.append(
                    Revoked(worker.name, held.batch, first, held.first + held.count)
                )
                held.count = start - held.base

    def interrupt(self, worker: str, job_id: str) -> None:
        process = self._workers.get(worker)
        if process is None:
            return
        mine = [held for held in process.held.values() if held.job_id == job_id]
        if not mine:
            return
        running = self._interrupt_item(process, job_id)
        low = process.words[status_page.CURRENT] if running else min(held.base for held in mine)
        self._forbid(process, low, job_id)
        if running:
            process.interrupt()
        elif next(iter(process.held.values())).job_id == job_id and process.force_at is None:
            # It is about to begin, or loads the function, which may never end.
            process.force_at = self._clock() + GRACE

    def _interrupt_item(self, worker: WorkerProcess, job_id: str) -> bool:
        """Return whether a worker runs an item of a job; if so, give it until GRACE is over."""
        where = worker.current()
        if where is None or where[0].job_id != job_id:
            return False
        if worker.force_at is None:
            worker.force_at = self._clock() + GRACE
        return True

    def kill(self, worker: str, reason: str) -> None:
        process = self._workers.get(worker)
        if process is not None:
            process.kill(reason)

    # -- what happens

    def watch(self, fd: int, mask: int, act: Callable[[], None]) -> None:
        """Make `poll` call `act`, in place of an earlier one, when a descriptor is ready for what is
        in `mask`, which may be nothing.
        """
        if fd in self._selector.get_map():
            self._selector.unregister(fd)
        if mask:
            self._selector.register(fd, mask, act)

    def poll(self, timeout: float | None) -> Iterable[PoolEvent]:
        if not self._events:
            self._listen()
            for key, mask in self._selector.select(self._patience(timeout)):
                worker: WorkerProcess | Callable[[], None] = key.data
                if not isinstance(worker, WorkerProcess):
                    worker()
                elif key.fileobj == worker.pidfd:
                    worker.hung_up = True
                elif key.fileobj is worker.socket:
                    if mask & selectors.EVENT_WRITE:
                        worker.flush()
                    if mask & selectors.EVENT_READ:
                        self._read(worker)
        now = self._clock()
        if self._settling and self._settling[0].due <= now:
            due = [each for each in self._settling if each.due <= now]
            self._settling = [each for each in self._settling if each.due > now]
            for revocation in due:
                self._settle(revocation)
        if self._forget_at is not None and self._forget_at <= now:
            self._forget_at = None
            for process in self._workers.values():
                self._forget_jobs(process)
                process.flush()
        self._check_progress(now)
        events, self._events = self._events, []
        return events

    def _listen(self) -> None:
        """Wake when a socket takes more of what is queued for its worker, since the last wait also."""
        for worker in self._workers.values():
            mask = selectors.EVENT_READ | (selectors.EVENT_WRITE if worker.wants_to_write else 0)
            if not worker.hung_up and self._selector.get_key(worker.socket).events != mask:
                self._selector.modify(worker.socket, mask, worker)

    def _patience(self, timeout: float | None) -> float | None:
        """Return how long to wait: until something of our own is due, or as asked."""
        waits = [] if timeout is None else [timeout]
        now = self._clock()
        if self._forget_at is not None:
            waits.append(self._forget_at - now)
        waits += [each.due - now for each in self._settling]
        for worker in self._workers.values():
            if worker.force_at is not None:
                waits.append(worker.force_at - now)
            if worker.hung_up:
                waits.append(0.001)
        if self._watching():
            waits.append(_CHECK)
        elif any(worker.pidfd < 0 for worker in self._workers.values()):
            waits.append(0.5)
        return max(0.0, min(waits)) if waits else None

    def _watching(self) -> bool:
        return any(
            spec.timeout is not None or spec.memory is not None for spec in self._jobs.values()
        ) and any(worker.held for worker in self._workers.values())

    def _silence(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self._alarm.recv(4096):
                pass

    def _read(self, worker: WorkerProcess) -> None:
        for message, body, _fds in worker.read():
            if isinstance(message, m.ResultsMessage):
                batch, first, count, meta, place, length = message
                path, offset, crc = place if place is not None else (None, 0, None)
                payload = body if place is None else None
                found = BatchMeta.unpacked(meta)
                self._events.append(
                    Results(
                        worker.name, batch, first, count, found, payload, path, offset, length, crc
                    )
                )
            elif isinstance(message, m.EndedMessage):
                self._end_batch(worker, message)
            elif isinstance(message, m.ReadyMessage):
                worker.up, worker.force_at = True, None
                self._failed_starts = 0
                self._events.append(WorkerUp(worker.name))

    def _end_batch(self, worker: WorkerProcess, ended: m.EndedMessage) -> None:
        held = worker.held.pop(ended.batch)
        if held.slot is not None:
            if ended.keeps_segment:
                self._arena.drop(held.slot)
                self._forget_segment(held.slot)
            elif not self._arena.give_back(held.slot):
                self._forget_segment(held.slot)
        if not any(other.job_id == held.job_id for other in worker.held.values()):
            worker.force_at = None
        self._events.append(BatchEnded(worker.name, ended.batch, ended.ran, ended.unreadable))

    def _forget_segment(self, number: int) -> None:
        for worker in self._workers.values():
            if number in worker.segments:
                worker.segments.discard(number)
                worker.post(m.ForgetMessage(segments=(number,)))

    def _check_progress(self, now: float) -> None:
        """Reap dead workers, kill those that ignore interrupts, check time-outs and memory."""
        checking = now >= self._next_check and self._watching()
        if checking:
            self._next_check = now + _CHECK
        for worker in list(self._workers.values()):
            if worker.force_at is not None and now >= worker.force_at:
                worker.force_at = None
                worker.kill("died" if not worker.up else "killed")
            if checking and worker.held:
                self._check_item(worker)
            if (worker.hung_up or worker.pidfd < 0) and worker.has_ended():
                self._reap(worker)

    def _check_item(self, worker: WorkerProcess) -> None:
        where = worker.current()
        if where is None or not worker.is_busy:
            return
        held, item = where
        spec = self._jobs.get(held.job_id)
        if spec is None:
            return
        if spec.timeout is not None and worker.overdue != worker.words[status_page.CURRENT]:
            since = worker.words[status_page.SINCE]
            if since and (time.monotonic_ns() - since) / 1e9 > spec.timeout:
                worker.overdue = worker.words[status_page.CURRENT]
                self._events.append(Overdue(worker.name, held.batch, item))
        if spec.memory is not None and worker.memory() > spec.memory << 20:
            worker.kill("memory")

    def is_under_way(self) -> bool:
        """Return whether a worker is at work, or has not read yet what was sent to it."""
        return any(worker.held and worker.is_at_work for worker in self._workers.values())

    def wake(self) -> None:
        with contextlib.suppress(OSError):
            self._wakeup.send(b"!")

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        if os.getpid() != self._pid:
            return  # a forked child of the kernel: the workers are not its own
        for worker in self._workers.values():
            worker.kill()
        for worker in self._workers.values():
            worker.end(within=5)
            worker.dispose()
        self._workers.clear()
        self._selector.close()
        self._alarm.close()
        self._wakeup.close()
        self._arena.close()
        self._blobs.close()
