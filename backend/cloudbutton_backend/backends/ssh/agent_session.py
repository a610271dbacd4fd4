"""The kernel's side of one agent: the link with it, and what it has."""

from __future__ import annotations

import mmap
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence, Set
from concurrent.futures import Future
from dataclasses import replace
from typing import Any, Final

from cloudbutton_backend.backends.package_versions import Versions, mismatches
from cloudbutton_backend.backends.protocol import (
    BatchCall,
    Blob,
    Event,
    JobSpec,
    Results,
    WorkerDown,
    WorkerUp,
)
from cloudbutton_backend.worker.blob_cache import BlobCache
from cloudbutton_backend.worker.shared_memory import SharedRegion
from cloudbutton_backend.worker.ssh.link import Command, Link
from cloudbutton_backend.worker.wire import Buffer, layout

PIECE: Final = 1 << 20
"""Bytes of a captured value in one message."""


class AgentSession:
    """One agent, from its start until it is gone.

    Parameters
    ----------
    name
        What the names of its workers begin with.
    required
        Versions that open jobs need there.
    wake
        Has the thread that sends look at what there is to send.
    """

    def __init__(
        self, target: str, name: str, required: Versions, wake: Callable[[], None]
    ) -> None:
        self.target, self.name = target, name
        self._required, self._wake = required, wake
        self.link = Link({"pid": os.getpid()})
        self.folder = ""
        """Where it is found there; "" before it was started."""
        self.is_away = False
        """Whether there is no connection."""
        self.has_died = False
        """Whether it ended although it was not to."""
        self.mismatches: list[str] = []
        """Versions there that open jobs do not fit."""
        self.n_workers = 0
        self.workers: set[str] = set()
        self._clock_ahead = 0.0
        """Seconds by which the clock there is ahead."""
        self._lock = threading.Lock()
        self._answers: deque[Future[Versions]] = deque()
        self._is_closed = False
        self._blobs: BlobCache[None] = BlobCache(0, lambda _: None)
        self.first_answer = self.versions(list(required))

    def __repr__(self) -> str:
        return f"<AgentSession {self.name}: {len(self.workers)} workers up>"

    # -- outgoing messages, from any thread

    def post(self, name: str, *arguments: Any, body: Buffer = b"", urgent: bool = False) -> None:
        """Queue a command to the agent, or send it ahead of the queue."""
        self.link.send(Command(name, arguments), body, urgent)
        self._wake()

    def versions(self, names: Sequence[str]) -> Future[Versions]:
        """Ask for the versions of distributions there."""
        answer: Future[Versions] = Future()
        with self._lock:
            if self._is_closed:
                answer.cancel()
            self._answers.append(answer)
            self.post("versions", list(names), urgent=True)
        return answer

    def open_job(
        self, spec: JobSpec, variables: dict[str, str], region_of: Callable[[Blob], SharedRegion]
    ) -> None:
        """Send a job, and before it the captured values that are not there yet.

        Parameters
        ----------
        region_of
            Returns where a captured value is in this machine's memory.
        """
        for blob in spec.blobs:
            if blob.digest not in self._blobs:
                self._upload(blob.digest, region_of(blob))
            self._blobs.get(blob.digest, blob.nbytes, lambda: None)
        blobs = tuple(replace(blob, parts=()) for blob in spec.blobs)
        bare = replace(spec, blobs=blobs, environment=variables, path=(), results="")
        self.post("open_job", bare)

    def _upload(self, digest: str, region: SharedRegion) -> None:
        # A map of its own keeps the memory until all of it has arrived.
        value = memoryview(mmap.mmap(region.fd, region.nbytes, access=mmap.ACCESS_READ))
        for offset in range(0, region.nbytes, PIECE):
            piece = value[offset : offset + PIECE]
            self.post("take", digest, region.nbytes, offset, body=piece)

    def submit(self, call: BatchCall) -> None:
        """Send a batch."""
        body = b"".join(layout(call.parts)[0])  # now: what the items refer to may change
        self.post("submit", replace(call, parts=()), body=body)

    def make_room(self, used: Set[str]) -> None:
        """Make the agent drop captured values for which there is no room, but none of `used`."""
        if dropped := self._blobs.evict(used):
            self.post("drop", dropped)

    # -- on the host's thread

    def answered(self, versions: Versions) -> None:
        """Take in the answer to the first question that has none."""
        answer = self._answers.popleft()
        if answer is self.first_answer:
            about = self.link.peer
            self.n_workers = about["workers"]
            self._clock_ahead = about["time"] - time.time()
            self._blobs = BlobCache(about["room"], lambda _: None)
            self.mismatches = mismatches(self._required, {self.target: versions})
        answer.set_result(versions)

    def as_seen_here(self, event: Event, body: bytes) -> Event:
        """Return what the agent reported, with its results and by this machine's clock."""
        if isinstance(event, Results):
            if event.meta.started:
                event.meta.started -= self._clock_ahead
            return replace(event, payload=body)
        if isinstance(event, WorkerUp):
            self.workers.add(event.worker)
        elif isinstance(event, WorkerDown):
            self.workers.discard(event.worker)
        return event

    def close(self) -> None:
        """Answer no more: the agent is gone."""
        with self._lock:
            self._is_closed = True
            for answer in self._answers:
                answer.cancel()
