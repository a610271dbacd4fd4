"""One call where it runs: items shared out among the processes, watched, and ended in time.

User code may crash, hang, or eat the memory: that ends the process it runs in and not ours. The call then
ends early with what is done, and says which item did it; whoever called decides what is tried again.
"""

from __future__ import annotations

import signal
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from cloudbutton_backend.worker import status_page
from cloudbutton_backend.worker.call_end import CallEnd, Culprit
from cloudbutton_backend.worker.child_process import ChildProcess, wait_for
from cloudbutton_backend.worker.messages import BatchMessage, EndedMessage, ResultsMessage
from cloudbutton_backend.worker.sealed_records import sealed_record
from cloudbutton_backend.worker.wire import Buffer

TICK: Final = 0.05
"""Seconds between looks at time-outs, memory and deaths."""
GRACE: Final = 0.25
"""Seconds between a gentle interrupt and the end by force."""
SPANS: Final = 4
"""Stretches of a batch for each process, where there are several: the quicker one takes more."""
_SENT_PER_SECOND: Final = 20e6
"""Bytes of results that a function puts into storage in a second, where they are too large to be answered."""


@dataclass(slots=True)
class HeldItems:
    """The span that a process runs."""

    base: int
    """Ordinal of its first item, see `status`."""
    first: int
    count: int
    alone: bool
    """Whether its first item has the whole call for itself."""
    through: int
    """First item without a result yet."""
    packed: tuple[int, int]
    """What the process had packed before it: items, bytes."""
    nbytes: int = 0
    """Of the results that have arrived."""
    struck: int | None = None
    """The item that was running when it was told to stop."""


class RunSpec(Protocol):
    """What has to be known of a call."""

    @property
    def job_id(self) -> str: ...
    @property
    def key(self) -> bytes:
        """With which records are sealed."""

    @property
    def batch(self) -> int: ...
    @property
    def first(self) -> int: ...
    @property
    def count(self) -> int: ...
    @property
    def timeout(self) -> float | None: ...
    @property
    def stop_on_error(self) -> bool: ...


class Processes(Protocol):
    """The processes of a place."""

    @property
    def memory(self) -> int:
        """MiB that they have."""

    def ensure_started(self, most: int) -> list[ChildProcess]:
        """Return living processes, no more than `most`."""

    def send_job(self, child: ChildProcess, order: Any) -> None:
        """Tell a process of a job, unless it knows it."""

    def is_full(self, children: Sequence[ChildProcess]) -> bool:
        """Whether there will soon be no memory left."""

    def reap(self, child: ChildProcess) -> None:
        """Forget a process that has ended."""


class CallRunner:
    """Runs one call.

    Parameters
    ----------
    until
        When it must have ended, on the clock of `time.monotonic`.
    why
        What that is for: `lease` or `limit`.
    is_unwanted
        Asked now and then: whether the call was cancelled.
    ask_every
        Seconds between two times.
    clock
        What `until` is a time of.
    """

    def __init__(
        self,
        processes: Processes,
        order: RunSpec,
        until: float,
        why: str,
        is_unwanted: Callable[[], bool],
        ask_every: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._processes, self._order, self._until, self._why = processes, order, until, why
        self._is_unwanted, self._ask_every, self._clock = is_unwanted, ask_every, clock
        self._held: dict[ChildProcess, HeldItems] = {}
        self._spans: deque[tuple[int, int]] = deque()
        """(items before it, items)"""
        self._body: list[Buffer] = []
        self._force_at: float | None = None
        self._records: list[tuple[int, list[Buffer]]] = []
        self._nbytes = 0
        self.ending = CallEnd()

    def run(self, items: bytes, skip: int = 0) -> list[Buffer]:
        """Run the call's items; return the records of what they left behind, in their order.

        Parameters
        ----------
        skip
            How many of `items` come before the call's own.
        """
        order = self._order
        children = self._processes.ensure_started(order.count)
        count = order.count
        size = count if len(children) == 1 else -(-count // (SPANS * len(children)))
        self._spans.extend((skip + at, min(size, count - at)) for at in range(0, count, size))
        self._body = [items]
        for child in children:
            self._next_span(child, alone=True)
        next_ask = self._clock() + self._ask_every
        while self._held:
            now = self._clock()
            wait = min(TICK, (self._force_at or self._until) - now)
            for child in wait_for(list(self._held), wait):
                self._listen(child)
            self._check_progress()
            now = self._clock()
            if self._force_at is None:
                if now >= self._until - self._expected_bytes() / _SENT_PER_SECOND:
                    self._stop(self._why, now)
                elif now >= next_ask:
                    next_ask = now + self._ask_every
                    if self._is_unwanted():
                        self._stop("cancelled", now)
            elif now >= self._force_at:
                for child in list(self._held):
                    self._end(child, "stopped")
        self._records.sort(key=lambda record: record[0])
        return [piece for _, pieces in self._records for piece in pieces]

    # -- items out, results in

    def _next_span(self, child: ChildProcess, *, alone: bool = False) -> None:
        """Give a process the next span, if there is one and nothing has gone wrong."""
        self._held.pop(child, None)
        if not self._spans or self.ending.why != "done":
            return
        order = self._order
        skip, count = self._spans.popleft()
        first = order.first + skip
        self._processes.send_job(child, order)
        held = HeldItems(child.next_ordinal, first, count, alone, first, child.packed)
        child.next_ordinal += count
        self._held[child] = held
        message = BatchMessage(order.batch, order.job_id, held.base, first, count, skip)
        child.post(message, self._body if alone else ())

    def _listen(self, child: ChildProcess) -> None:
        for message, body, _fds in child.read():
            held = self._held.get(child)
            if held is None:
                continue
            if isinstance(message, ResultsMessage):
                self._keep(held, message, body)
            elif isinstance(message, EndedMessage):
                self._span_ended(child, held, message)

    def _keep(self, held: HeldItems, results: ResultsMessage, body: bytes) -> None:
        batch, first, count, meta, _place, length = results
        record = sealed_record(batch, first, count, meta, [body], length, self._order.key)
        self._records.append((first, record))
        self._nbytes += length
        held.nbytes += length
        held.through = first + count
        self.ending.ran += count
        if self._order.stop_on_error and "errors" in meta and self.ending.why == "done":
            self.ending.why = "failed"  # nothing beyond what others have begun is wanted

    def _span_ended(self, child: ChildProcess, held: HeldItems, ended: EndedMessage) -> None:
        ending = self.ending
        if ended.unreadable:
            ending.unreadable, ending.why = True, "failed"
        elif ended.ran < held.count:
            self._note_struck(held)
        if ended.is_spoilt:
            child.end()  # lest the next call meets it before it is gone
        self._next_span(child)

    def _note_struck(self, held: HeldItems) -> None:
        """If an item was dropped that had the whole call for itself, another call is no use."""
        dropped = held.struck is not None and held.struck >= held.through
        if dropped and held.alone and held.struck == held.first and self.ending.why == self._why:
            self.ending.too_long.append(held.first)

    def _expected_bytes(self) -> float:
        """Estimate how many bytes of results the call has if it ends now.

        On a busy machine a process may be far ahead of what has arrived of its results. It notes on its
        page what it has packed; what it has finished besides counts as being as large.
        """
        packed = done = self.ending.ran
        nbytes = self._nbytes
        for child, held in self._held.items():
            arrived = held.through - held.first
            items, size = child.packed
            packed += items - held.packed[0] - arrived
            nbytes += size - held.packed[1] - held.nbytes
            done += max(0, self._finished(child, held) - arrived)
        return nbytes / packed * max(packed, done) if packed else 0.0

    def _finished(self, child: ChildProcess, held: HeldItems) -> int:
        """Return how many items of its span a process has finished, but for the last."""
        ordinal = child.words[status_page.CURRENT]
        return ordinal - held.base if held.base <= ordinal < held.base + held.count else 0

    # -- what goes wrong

    def _check_progress(self) -> None:
        """See to deaths, time-outs and memory."""
        order = self._order
        for child, held in list(self._held.items()):
            if child.hung_up or child.has_ended():
                self._reap(child)
                continue
            if order.timeout is None or not child.is_busy:
                continue
            current, since = child.words[status_page.CURRENT], child.words[status_page.SINCE]
            running = (time.monotonic_ns() - since) / 1e9
            if since and current >= held.base and running > order.timeout:
                self._end(child, "timeout")
        if self._held and self._processes.is_full(list(self._held)):
            self._end(max(self._held, key=ChildProcess.memory), "memory")

    def _end(self, child: ChildProcess, reason: str) -> None:
        """End a process by force."""
        child.kill(reason)
        child.end()
        self._reap(child)

    def _reap(self, child: ChildProcess) -> None:
        """Take note of what a dead process was doing."""
        self._listen(child)  # what it sent before it died counts
        if not child.has_ended():  # it hung up and lives: something in it closed our socket
            child.kill("died")
            child.end()
        held = self._held.pop(child, None)
        death = child.death
        assert death is not None
        if held is not None:
            item = self._running(child, held)
            reason = child.kill_reason or "died"
            if reason == "stopped":
                held.struck = held.struck if held.struck is not None else item
                self._note_struck(held)
            else:
                if reason == "died" and self._was_starved(child):
                    reason = "memory"
                self.ending.why = "failed" if self.ending.why == "done" else self.ending.why
                self.ending.culprits.append(Culprit(item, reason, death))
        self._processes.reap(child)

    def _was_starved(self, child: ChildProcess) -> bool:
        """Whether the platform ended a process because memory ran out, as far as can be told."""
        death = child.death
        assert death is not None
        return death.code == -signal.SIGKILL and death.peak > 0.8 * (self._processes.memory << 20)

    def _running(self, child: ChildProcess, held: HeldItems) -> int | None:
        """Return the item that a process runs or ran last, None if that is not known."""
        ordinal = child.words[status_page.CURRENT]
        if child.is_busy and held.base <= ordinal < held.base + held.count:
            return held.first + ordinal - held.base
        return None

    # -- the end

    def _stop(self, why: str, now: float) -> None:
        """Begin nothing more, and drop what runs: gently, and soon by force."""
        if self.ending.why == "done":
            self.ending.why = why
        self._force_at = now + GRACE
        for child, held in self._held.items():
            held.struck = self._running(child, held)
            child.forbid_all()
            if held.struck is not None:
                child.interrupt()
