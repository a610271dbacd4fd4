"""The hand-made floor: the least that a safe two-process pool costs on this machine.

Workers are plain interpreters (`exec`, no fork of a threaded parent, no site start-up), one socket
pair each. The function goes once, by value; items go in batches that double until one is 20 ms of
measured work, two in flight per worker. No retries, no journal, no cancellation, no large-array
tricks.
"""

from __future__ import annotations

import os
import pickle
import socket
import subprocess
import sys
from collections import deque
from select import select

import cloudpickle

from benchmarks.engines.base import BaseEngine
from benchmarks.engines.floor_worker import receive, send

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

BATCH_SECONDS = 0.020

#: Two frames this size fit into a socket's buffer: the parent may then send without fear that
#: worker and parent block on sending to each other.
QUEUED_BYTES = 32 * 1024


class _Worker:
    def __init__(self) -> None:
        self.socket, theirs = socket.socketpair()
        path = os.path.join(os.path.dirname(__file__), "floor_worker.py")
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-S", "-E", path, str(theirs.fileno()), *sys.path],
                pass_fds=[theirs.fileno()],
            )
        self.in_flight = 0

    def fileno(self) -> int:
        return self.socket.fileno()


class Engine(BaseEngine):
    """Workers over socket pairs, driven by the calling thread."""

    def __init__(self, workers: int) -> None:
        super().__init__(workers)
        self._pool = [_Worker() for _ in range(workers)]

    def map(
        self, f: Callable[[Any], Any], items: Sequence[Any], chunk: int | None = None
    ) -> list[Any]:
        results: list[Any] = [None] * len(items)
        for start, values in self._batches(f, items, chunk):
            results[start : start + len(values)] = values
        return results

    def stream(self, f: Callable[[Any], Any], items: Sequence[Any]) -> Iterator[Any]:
        for _, values in self._batches(f, items, None):
            yield from values

    def close(self) -> None:
        for worker in self._pool:
            worker.socket.close()
            worker.process.wait()

    def _batches(
        self, f: Callable[[Any], Any], items: Sequence[Any], chunk: int | None
    ) -> Iterator[tuple[int, list[Any]]]:
        function = cloudpickle.dumps(f)
        for worker in self._pool:
            send(worker.socket, function)
            worker.in_flight = 0
        size, next_item = chunk or 1, 0
        held: deque[bytes] = deque()
        while True:
            for depth in (0, 1):  # everybody gets a first batch before anybody a second
                for worker in self._pool:
                    if worker.in_flight != depth:
                        continue
                    if not held and next_item < len(items):
                        # Towards the end batches shrink, so that all workers finish together.
                        left = len(items) - next_item
                        count = chunk or max(1, min(size, left // (2 * self.workers)))
                        batch = (next_item, list(items[next_item : next_item + count]))
                        held.append(pickle.dumps(batch, 5))
                        next_item += len(batch[1])
                    if held and (depth == 0 or len(held[0]) <= QUEUED_BYTES):
                        send(worker.socket, held.popleft())
                        worker.in_flight += 1
            busy = [worker for worker in self._pool if worker.in_flight]
            if not busy:
                return
            for worker in select(busy, [], [])[0]:
                frame = receive(worker.socket)
                if frame is None:
                    raise RuntimeError(f"worker {worker.process.pid} died; the floor keeps nothing")
                worker.in_flight -= 1
                start, values, seconds = pickle.loads(frame)
                if seconds < BATCH_SECONDS / 2 and len(values) * 2 > size:
                    size = len(values) * 2
                yield start, values
