"""Runs one call: shares its items out among worker processes, watches these, and ends in time.

User code may crash, hang, or eat the memory: that ends the process it runs in and not ours. The call then
ends early with what is done, and says which item did it; the caller decides what is tried again.
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
"""Seconds between checks of time-outs, memory and deaths."""
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
    interrupted: int | None = None
    """The item that was running when it was told to stop."""


class RunSpec(Protocol):
    """A call to run."""

    @property
    def job_id(self) -> str: ...
    @property
    def key(self) -> bytes:
        """Key that seals the records."""

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
    """The worker processes that a call may use."""

    @property
    def memory(self) -> int:
        """Their memory in MiB."""

    def ensure_started(self, most: int) -> list[ChildProcess]:
        """Return living processes, no more than `most`."""

    def send_job(self, child: ChildProcess, spec: Any) -> None:
        """Tell a process of the call's job, unless it knows the job."""

    def is_full(self, children: Sequence[ChildProcess]) -> bool:
        """Whether there will soon be no memory left."""

    def reap(self, child: ChildProcess) -> None:
        """Release a process that has ended."""


class CallRunner:
    """Runs one call.

    Parameters
    ----------
    until
        When it must have ended, on the clock of `time.monotonic`.
    why
        The reason for that: `lease` or `limit`.
    is_cancelled
        Tells whether the call was cancelled; called every `ask_every` seconds.
    clock
        The clock of `until`.
    """

    def __init__(
        self,
        processes: Processes,
        spec: RunSpec,
        until: float,
        why: str,
        is_cancelled: Callable[[], bool],
        ask_every: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._processes, self._spec, self._until, self._why = processes, spec, until, why
        self._is_cancelled, self._ask_every, self._clock = is_cancelled, ask_every, clock
        self._held: dict[ChildProcess, HeldItems] = {}
        self._spans: deque[tuple[int, int]] = deque()
        """(items before it, items)"""
        self._body: list[Buffer] = []
        self._force_at: float | None = None
        self._records: list[tuple[int, list[Buffer]]] = []
        self._nbytes = 0
        self.ending = CallEnd()

    def run(self, items: bytes, skip: int = 0) -> list[Buffer]:
        """Run the call's items; return the records of what they left behind, in item order.

        Parameters
        ----------
        skip
            How many of `items` come before the call's own.
        """
        spec = self._spec
        children = self._processes.ensure_started(spec.count)
        count = spec.count
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
                self._receive(child)
            self._check_progress()
            now = self._clock()
            if self._force_at is None:
                if now >= self._until - self._expected_bytes() / _SENT_PER_SECOND:
                    self._stop(self._why, now)
                elif now >= next_ask:
                    next_ask = now + self._ask_every
                    if self._is_cancelled():
                        self._stop("cancelled", now)
            elif now >= self._force_at:
                for child in list(self._held):
                    self._kill(child, "stopped")
        self._records.sort(key=lambda record: record[0])
        return [piece for _, pieces in self._records for piece in pieces]

    # -- items out, results in

    def _next_span(self, child: ChildProcess, *, alone: bool = False) -> None:
        """Send a process the next span, if there is one and nothing has gone wrong."""
        self._held.pop(child, None)
        if not self._spans or self.ending.why != "done":
            return
        spec = self._spec
        skip, count = self._spans.popleft()
        first = spec.first + skip
        self._processes.send_job(child, spec)
        held = HeldItems(child.next_ordinal, first, count, alone, first, child.packed)
        child.next_ordinal += count
        self._held[child] = held
        message = BatchMessage(spec.batch, spec.job_id, held.base, first, count, skip)
        child.post(message, self._body if alone else ())

    def _receive(self, child: ChildProcess) -> None:
        for message, body, _fds in child.read():
            held = self._held.get(child)
            if held is None:
                continue
            if isinstance(message, ResultsMessage):
                self._add_record(held, message, body)
            elif isinstance(message, EndedMessage):
                self._span_ended(child, held, message)

    def _add_record(self, held: HeldItems, results: ResultsMessage, body: bytes) -> None:
        batch, first, count, meta, _place, length = results
        record = sealed_record(batch, first, count, meta, [body], length, self._spec.key)
        self._records.append((first, record))
        self._nbytes += length
        held.nbytes += length
        held.through = first + count
        self.ending.ran += count
        if self._spec.stop_on_error and "errors" in meta and self.ending.why == "done":
            self.ending.why = "failed"  # nothing beyond what others have begun is wanted

    def _span_ended(self, child: ChildProcess, held: HeldItems, ended: EndedMessage) -> None:
        ending = self.ending
        if ended.unreadable:
            ending.unreadable, ending.why = True, "failed"
        elif ended.ran < held.count:
            self._note_dropped(held)
        if ended.is_spoilt:
            child.end()  # so that the next call cannot meet it before it ends
        self._next_span(child)

    def _note_dropped(self, held: HeldItems) -> None:
        """Note an item that was interrupted although it had the whole call: another call is no use."""
        dropped = held.interrupted is not None and held.interrupted >= held.through
        if (
            dropped
            and held.alone
            and held.interrupted == held.first
            and self.ending.why == self._why
        ):
            self.ending.too_long.append(held.first)

    def _expected_bytes(self) -> float:
        """Estimate how many bytes of results the call has if it ends now.

        On a busy machine a process may be far ahead of what has arrived of its results. It notes on its
        page what it has packed; what else it has finished counts as being as large.
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
        """Check for deaths, time-outs and exhausted memory."""
        spec = self._spec
        for child, held in list(self._held.items()):
            if child.hung_up or child.has_ended():
                self._reap(child)
                continue
            if spec.timeout is None or not child.is_busy:
                continue
            current, since = child.words[status_page.CURRENT], child.words[status_page.SINCE]
            running = (time.monotonic_ns() - since) / 1e9
            if since and current >= held.base and running > spec.timeout:
                self._kill(child, "timeout")
        if self._held and self._processes.is_full(list(self._held)):
            self._kill(max(self._held, key=ChildProcess.memory), "memory")

    def _kill(self, child: ChildProcess, reason: str) -> None:
        """End a process by force."""
        child.kill(reason)
        child.end()
        self._reap(child)

    def _reap(self, child: ChildProcess) -> None:
        """Release a dead process, and note what it was doing."""
        self._receive(child)  # what it sent before it died counts
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
                held.interrupted = held.interrupted if held.interrupted is not None else item
                self._note_dropped(held)
            else:
                if reason == "died" and self._was_starved(child):
                    reason = "memory"
                self.ending.why = "failed" if self.ending.why == "done" else self.ending.why
                self.ending.culprits.append(Culprit(item, reason, death))
        self._processes.reap(child)

    def _was_starved(self, child: ChildProcess) -> bool:
        """Whether the platform ended a process because memory ran out, as far as is known."""
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
        """Begin nothing more, and interrupt what runs: gently, and soon by force."""
        if self.ending.why == "done":
            self.ending.why = why
        self._force_at = now + GRACE
        for child, held in self._held.items():
            held.interrupted = self._running(child, held)
            child.forbid_all()
            if held.interrupted is not None:
                child.interrupt()
