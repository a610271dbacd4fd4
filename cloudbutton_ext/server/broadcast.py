"""Tells all open panels what is new: one look at the journal for all, and none while nobody listens.

::

    event loop                                   the feed's thread
    ──────────                                   ─────────────────
    a panel connects ─▶ join ─▶ task begins ───▶ look: PRAGMA data_version, liveness
          ▲                       │              news once as JSON, for all who are in step
          │                       │              what each of the others has missed
          └───── send ◀───────────┴───────────── what is new of the jobs that are watched
                                  │
                             pause, at least 0.1 s, longer after long work or a long quiet

A panel whose connection is slow is left out until what was sent has gone; then it is told what it has missed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Protocol

from cloudbutton_ext.server.poller import ClientState, Delivery, Poller, Subscription

if TYPE_CHECKING:
    from cloudbutton_ext.server.context import ServerContext

#: Seconds between two looks, at least: ten messages a second is more than an eye follows.
PERIOD: Final = 0.1
#: The same when there was nothing to tell for `QUIET` seconds.
LONG_PERIOD: Final = 0.5
QUIET: Final = 5.0
#: Looking takes at most this part of a CPU, whatever there is to see.
SHARE: Final = 0.2


def pause(*, took: float, quiet: float) -> float:
    """Return the seconds until the next look, after one that took so long.

    Parameters
    ----------
    took
        Seconds of CPU that looking took.
    quiet
        Seconds since there was something to tell.
    """
    return max(LONG_PERIOD if quiet > QUIET else PERIOD, took * (1 / SHARE - 1))


class Connection(Protocol):
    """A connection to a panel."""

    def is_free(self) -> bool:
        """Whether what was sent before has gone."""

    def send(self, text: str) -> None:
        """Send a message."""


@dataclass(eq=False)
class Subscriber:
    """A panel, and what it has been told."""

    line: Connection
    known: ClientState


class Broadcaster:
    """Looks at the journal while somebody listens.

    Parameters
    ----------
    sleep
        Passes seconds; tests have their own.
    """

    def __init__(
        self, context: ServerContext, *, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        self._sleep = sleep
        self._listeners: list[Subscriber] = []
        self._task: asyncio.Task[None] | None = None
        self._wakeup = asyncio.Event()
        self._poller = Poller(context)
        # One thread of its own: SQLite's connection is for one at a time.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="cloudbutton-feed")

    def __repr__(self) -> str:
        condition = "asleep" if self._task is None else "looking"
        return f"<Hub {condition}, {len(self._listeners)} listeners>"

    def join(self, listener: Subscriber) -> None:
        """Tell `listener` at once what it does not know, and from now on what is new."""
        self._listeners.append(listener)
        self._wakeup.set()
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())

    def leave(self, listener: Subscriber) -> None:
        """Tell `listener` nothing more. With the last one the looking ends. Safe to repeat."""
        if listener in self._listeners:
            self._listeners.remove(listener)
        if not self._listeners and self._task is not None:
            self._task.cancel()
            self._task = None
            self._thread.submit(self._poller.close)

    def watch(self, listener: Subscriber, watch: Subscription | None) -> None:
        """Tell `listener` of one job's batches and printed lines, too."""
        listener.known = replace(listener.known, watch=watch)
        self._wakeup.set()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        told_at = loop.time()
        while True:
            self._wakeup.clear()
            was_news, took = await self._look()
            now = loop.time()
            if was_news:
                told_at = now
            await self._rest(pause(took=took, quiet=now - told_at))

    async def _rest(self, seconds: float) -> None:
        await self._sleep(PERIOD)
        if seconds > PERIOD:
            wakeup, rest = (
                asyncio.ensure_future(each)
                # ends: with the sleep at the latest
                for each in (self._wakeup.wait(), self._sleep(seconds - PERIOD))
            )
            try:
                # ends: with the sleep at the latest
                await asyncio.wait((wakeup, rest), return_when=asyncio.FIRST_COMPLETED)
            finally:
                wakeup.cancel()
                rest.cancel()

    async def _look(self) -> tuple[bool, float]:
        """Look once and tell everybody; return whether there was anything to tell, and the CPU time."""
        free = [listener for listener in self._listeners if listener.line.is_free()]
        busy = [listener for listener in self._listeners if listener not in free]
        loop = asyncio.get_running_loop()
        asked = [listener.known for listener in free]
        (is_news, found), took = await loop.run_in_executor(self._thread, self._timed_look, asked)
        for listener, before, told in zip(free, asked, found):
            # It may have begun to watch another job meanwhile.
            has_turned = listener.known is not before
            watch = listener.known.watch if has_turned else told.known.watch
            listener.known = replace(told.known, watch=watch)
            for message in told.messages:
                listener.line.send(message)
        if is_news:
            for listener in busy:
                listener.known = replace(listener.known, in_step=False)
        return any(told.messages for told in found), took

    def _timed_look(self, asked: list[ClientState]) -> tuple[tuple[bool, list[Delivery]], float]:
        began = time.thread_time()
        return self._poller.look(asked), time.thread_time() - began
