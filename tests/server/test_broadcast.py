from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cloudbutton_backend.journal import Journal
from cloudbutton_ext.server.broadcast import (
    LONG_PERIOD,
    PERIOD,
    QUIET,
    Broadcaster,
    Subscriber,
    pause,
)
from cloudbutton_ext.server.context import ServerContext
from cloudbutton_ext.server.poller import ClientState
from cloudbutton_ext.server.public_paths import PublicPaths

from .conftest import PATIENCE, a_job

PAUSES: dict[str, tuple[float, float, float]] = {
    "after quick work": (0.001, 0.0, PERIOD),
    "after long work, four times as long": (0.1, 0.0, 0.4),
    "after a long quiet": (0.001, QUIET + 1, LONG_PERIOD),
    "after long work and quiet": (1.0, QUIET + 1, 4.0),
}


@pytest.mark.parametrize("case", PAUSES)
def test_how_long_to_pause(case: str) -> None:
    took, quiet, expected = PAUSES[case]
    assert pause(took=took, quiet=quiet) == pytest.approx(expected)


class Sleep:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.asked: list[float] = []
        self._waiting: list[asyncio.Future[None]] = []

    async def __call__(self, seconds: float) -> None:
        self.asked.append(seconds)
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        await future

    async def pass_once(self) -> None:
        """Wait until a task sleeps, and wake it."""
        deadline = asyncio.get_running_loop().time() + PATIENCE
        while not self._waiting:
            assert asyncio.get_running_loop().time() < deadline, "nobody sleeps"
            await asyncio.sleep(0.001)
        for future in self._waiting:
            if not future.done():
                future.set_result(None)
        self._waiting.clear()


class Line:
    """A connection that keeps what it is sent."""

    def __init__(self) -> None:
        self.free = True
        self.sent: list[Any] = []

    def is_free(self) -> bool:
        return self.free

    def send(self, text: str) -> None:
        self.sent.append(json.loads(text))

    def done(self) -> list[int]:
        """Return the progress that each message told."""
        return [job["done"] for message in self.sent for job in message["jobs"]]


@pytest.fixture
def context(home: Path, tmp_path: Path) -> ServerContext:
    return ServerContext(PublicPaths(tmp_path))


@pytest.fixture
def run(
    context: ServerContext, journal: Journal
) -> Iterator[Callable[[Callable[[Broadcaster, Sleep], Any]], Any]]:
    def run(scene: Callable[[Broadcaster, Sleep], Any]) -> Any:
        async def play() -> Any:
            sleep = Sleep()
            return await scene(Broadcaster(context, sleep=sleep), sleep)

        return asyncio.run(play())

    yield run


Run = Callable[[Callable[[Broadcaster, Sleep], Any]], Any]


def test_what_happens_between_two_looks_is_one_message(run: Run, journal: Journal) -> None:
    async def scene(broadcaster: Broadcaster, sleep: Sleep) -> None:
        line = Line()
        subscriber = Subscriber(line, ClientState(None))
        journal.add_job(a_job())
        assert journal.flush(10)
        broadcaster.join(subscriber)
        for done in range(1, 51):
            journal.update_job("abcd2345", done=done)
            assert journal.flush(10)
            if done % 10 == 0:
                await sleep.pass_once()
        await sleep.pass_once()
        broadcaster.leave(subscriber)
        assert len(line.sent) <= 7
        assert line.done()[-1] == 50
        assert min(sleep.asked) >= PERIOD

    run(scene)


def test_a_slow_panel_is_left_out_and_told_the_latest_when_it_is_free(
    run: Run, journal: Journal
) -> None:
    async def scene(broadcaster: Broadcaster, sleep: Sleep) -> None:
        slow, quick = Line(), Line()
        subscribers = [Subscriber(slow, ClientState(None)), Subscriber(quick, ClientState(None))]
        journal.add_job(a_job())
        assert journal.flush(10)
        for subscriber in subscribers:
            broadcaster.join(subscriber)
        await sleep.pass_once()
        slow.free = False
        for done in (1, 2, 3):
            journal.update_job("abcd2345", done=done)
            assert journal.flush(10)
            await sleep.pass_once()
        await sleep.pass_once()
        assert slow.done() == [0]
        slow.free = True
        await sleep.pass_once()
        await sleep.pass_once()
        for subscriber in subscribers:
            broadcaster.leave(subscriber)
        assert slow.done() == [0, 3]
        assert quick.done()[-1] == 3

    run(scene)


def test_while_nobody_listens_nobody_looks(run: Run) -> None:
    async def scene(broadcaster: Broadcaster, sleep: Sleep) -> None:
        subscribers = [Subscriber(Line(), ClientState(None)) for _ in range(2)]
        for subscriber in subscribers:
            broadcaster.join(subscriber)
        await sleep.pass_once()
        assert repr(broadcaster) == "<Broadcaster looking, 2 subscribers>"
        broadcaster.leave(subscribers[0])
        broadcaster.leave(subscribers[0])
        await sleep.pass_once()
        broadcaster.leave(subscribers[1])
        assert repr(broadcaster) == "<Broadcaster asleep, 0 subscribers>"
        looked = len(sleep.asked)
        await asyncio.sleep(0)
        assert len(sleep.asked) == looked

    run(scene)


def test_after_everybody_left_the_next_one_is_told_all(run: Run, journal: Journal) -> None:
    async def scene(broadcaster: Broadcaster, sleep: Sleep) -> None:
        journal.add_job(a_job())
        assert journal.flush(10)
        for _ in range(3):
            line = Line()
            subscriber = Subscriber(line, ClientState(None))
            broadcaster.join(subscriber)
            await sleep.pass_once()
            broadcaster.leave(subscriber)
            assert line.done() == [0]

    run(scene)
