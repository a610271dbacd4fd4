"""Tells all open panels what is new: polls the journal once for all, and not at all without panels.

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

PERIOD: Final = 0.1
"""Seconds between two looks, at least: ten messages a second is more than an eye follows."""
LONG_PERIOD: Final = 0.5
"""The same when there was nothing to tell for `QUIET` seconds."""
QUIET: Final = 5.0
SHARE: Final = 0.2
"""Looking takes at most this part of a CPU, whatever there is to see."""


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

    connection: Connection
    state: ClientState


class Broadcaster:
    """Polls the journal while there are listeners.

    Parameters
    ----------
    sleep
        Passes seconds; tests have their own.
    """

    def __init__(
        self, context: ServerContext, *, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        self._sleep = sleep
        self._subscribers: list[Subscriber] = []
        self._task: asyncio.Task[None] | None = None
        self._wakeup = asyncio.Event()
        self._poller = Poller(context)
        # One thread of its own: SQLite's connection is for one at a time.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="cloudbutton-feed")

    def __repr__(self) -> str:
        condition = "asleep" if self._task is None else "looking"
        return f"<Broadcaster {condition}, {len(self._subscribers)} subscribers>"

    def join(self, subscriber: Subscriber) -> None:
        """Tell `subscriber` at once what it does not know, and from now on what is new."""
        self._subscribers.append(subscriber)
        self._wakeup.set()
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())

    def leave(self, subscriber: Subscriber) -> None:
        """Tell `subscriber` nothing more. With the last one the looking ends. Safe to repeat."""
        if subscriber in self._subscribers:
            self._subscribers.remove(subscriber)
        if not self._subscribers and self._task is not None:
            self._task.cancel()
            self._task = None
            self._thread.submit(self._poller.close)

    def watch(self, subscriber: Subscriber, watch: Subscription | None) -> None:
        """Tell `subscriber` of one job's batches and printed lines, too."""
        subscriber.state = replace(subscriber.state, watch=watch)
        self._wakeup.set()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        news_at = loop.time()
        while True:
            self._wakeup.clear()
            was_news, took = await self._look()
            now = loop.time()
            if was_news:
                news_at = now
            await self._rest(pause(took=took, quiet=now - news_at))

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
        """Poll once and notify all subscribers; return whether there was news, and the CPU time."""
        free = [subscriber for subscriber in self._subscribers if subscriber.connection.is_free()]
        busy = [subscriber for subscriber in self._subscribers if subscriber not in free]
        loop = asyncio.get_running_loop()
        states = [subscriber.state for subscriber in free]
        (is_news, found), took = await loop.run_in_executor(self._thread, self._timed_look, states)
        for subscriber, before, delivery in zip(free, states, found):
            # It may have begun to watch another job meanwhile.
            has_turned = subscriber.state is not before
            watch = subscriber.state.watch if has_turned else delivery.state.watch
            subscriber.state = replace(delivery.state, watch=watch)
            for message in delivery.messages:
                subscriber.connection.send(message)
        if is_news:
            for subscriber in busy:
                subscriber.state = replace(subscriber.state, is_current=False)
        return any(delivery.messages for delivery in found), took

    def _timed_look(self, states: list[ClientState]) -> tuple[tuple[bool, list[Delivery]], float]:
        began = time.thread_time()
        return self._poller.look(states), time.thread_time() - began
