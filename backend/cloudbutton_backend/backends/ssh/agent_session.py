"""The kernel's side of one agent: the queue of messages to it, and what it has."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence, Set
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any, Final

from cloudbutton_backend.backends.package_versions import Versions
from cloudbutton_backend.backends.protocol import BatchCall, Blob, JobSpec
from cloudbutton_backend.worker.blob_cache import BlobCache
from cloudbutton_backend.worker.shared_memory import SharedRegion
from cloudbutton_backend.worker.ssh.link import Command, Link
from cloudbutton_backend.worker.wire import layout

WINDOW: Final = 16 << 20
"""Bytes on their way at a time, so that what is urgent soon gets through."""
PIECE: Final = 1 << 20
"""Bytes of a captured value in one message."""


@dataclass(slots=True)
class Upload:
    """A captured value that is sent piece by piece."""

    digest: str
    fd: int
    nbytes: int
    offset: int = 0


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
        self.target, self.name, self.required, self._wake = target, name, required, wake
        self.link = Link({"pid": os.getpid()})
        self.folder = ""
        """Where it is found there; "" before it was started."""
        self.has_died = False
        """Whether it ended although it was not to."""
        self.n_workers = 0
        self.clock_ahead = 0.0
        """Seconds by which the clock there is ahead."""
        self.workers: set[str] = set()
        self.answers: deque[Future[Versions]] = deque()
        self._is_closed = False
        self._lock = threading.Lock()
        self._urgent: deque[Command] = deque()
        self._outbox: deque[tuple[Command, bytes] | Upload] = deque()
        self._blobs: BlobCache[None] = BlobCache(0, lambda _: None)
        self.first_answer = self.versions(list(required))

    def __repr__(self) -> str:
        return f"<AgentSession {self.name}: {len(self.workers)} workers up>"

    def greeted(self, about: dict[str, Any]) -> None:
        """Take in what the agent told of itself."""
        self.n_workers = about["workers"]
        self.clock_ahead = about["time"] - time.time()
        self._blobs = BlobCache(about["room"], lambda _: None)

    # -- outgoing messages, from any thread

    def post(self, name: str, *arguments: Any, body: bytes = b"") -> None:
        """Queue a command to the agent."""
        with self._lock:
            self._outbox.append((Command(name, arguments), body))
        self._wake()

    def post_now(self, name: str, *arguments: Any) -> None:
        """Send a command to the agent ahead of the queue."""
        with self._lock:
            self._urgent.append(Command(name, arguments))
        self._wake()

    def versions(self, names: Sequence[str]) -> Future[Versions]:
        """Ask for the versions of distributions there."""
        answer: Future[Versions] = Future()
        with self._lock:
            if self._is_closed:
                answer.cancel()
            self.answers.append(answer)
            self._urgent.append(Command("versions", (list(names),)))
        self._wake()
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
                region = region_of(blob)
                # Its memory stays with this descriptor until all of it is sent.
                upload = Upload(blob.digest, os.dup(region.fd), region.nbytes)
                with self._lock:
                    self._outbox.append(upload)
            self._blobs.get(blob.digest, blob.nbytes, lambda: None)
        blobs = tuple(replace(blob, parts=()) for blob in spec.blobs)
        bare = replace(
            spec, blobs=blobs, environment=variables, path=(), results="", results_key=b""
        )
        self.post("open_job", bare)

    def submit(self, call: BatchCall) -> None:
        """Send a batch."""
        body = b"".join(layout(call.parts)[0])  # now: what the items refer to may change
        self.post("submit", replace(call, parts=()), body=body)

    def withdraw(self, worker: str, job_id: str) -> list[int]:
        """Take back a worker's batches of a job that have not been sent; return their numbers."""
        kept: deque[tuple[Command, bytes] | Upload] = deque()
        batches = []
        with self._lock:
            for each in self._outbox:
                if not isinstance(each, Upload) and each[0].name == "submit":
                    call: BatchCall = each[0].arguments[0]
                    if (call.worker, call.job_id) == (worker, job_id):
                        batches.append(call.batch)
                        continue
                kept.append(each)
            self._outbox = kept
        return batches

    def make_room(self, used: Set[str]) -> None:
        """Make the agent drop captured values for which there is no room, but none of `used`."""
        if dropped := self._blobs.evict(used):
            self.post("drop", dropped)

    # -- on the host's thread

    def fill_link(self) -> None:
        """Give the link what may be on its way."""
        with self._lock:
            while self._urgent:
                self.link.send(self._urgent.popleft())
            while self._outbox and self.link.unconfirmed < WINDOW:
                first = self._outbox[0]
                if not isinstance(first, Upload):
                    self.link.send(*first)
                elif not self._send_piece(first):
                    continue
                self._outbox.popleft()

    def _send_piece(self, upload: Upload) -> bool:
        """Send a piece of a captured value; return whether it was the last."""
        piece = os.pread(upload.fd, min(PIECE, upload.nbytes - upload.offset), upload.offset)
        self.link.send(Command("take", (upload.digest, upload.nbytes, upload.offset)), piece)
        upload.offset += len(piece)
        if upload.offset < upload.nbytes:
            return False
        os.close(upload.fd)
        return True

    def close(self) -> None:
        """Forget what was not sent: the agent is gone."""
        with self._lock:
            self._is_closed = True
            for each in self._outbox:
                if isinstance(each, Upload):
                    os.close(each.fd)
            self._outbox.clear()
            while self.answers:
                self.answers.popleft().cancel()
