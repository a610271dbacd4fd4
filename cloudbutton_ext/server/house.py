"""What all endpoints of one server share: the journal, places, threads, the feed."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from cloudbutton_backend.errors import CloudError
from cloudbutton_backend.journal import JobRow, JournalReader
from cloudbutton_backend.journal.process import Lookout
from cloudbutton_ext.server import shaping
from cloudbutton_ext.server.hub import Hub
from cloudbutton_ext.server.places import Places

Value = TypeVar("Value")


class House:
    """One per Jupyter server.

    Parameters
    ----------
    places
        Where the server's notebooks are.
    clock
        Unix time.
    """

    def __init__(self, places: Places, *, clock: Callable[[], float] = time.time) -> None:
        self.places = places
        self.clock = clock
        self.hub = Hub(self)
        self._threads = ThreadPoolExecutor(max_workers=4, thread_name_prefix="cloudbutton")

    def __repr__(self) -> str:
        return f"<House of {self.places.root.name}>"

    def reader(self) -> JournalReader:
        """Return the user's journal. Looked up each time: it may be made, moved or begun anew."""
        return JournalReader(clock=self.clock)

    async def off_loop(self, function: Callable[..., Value], *arguments: Any) -> Value:
        """Call a function on one of our threads."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, function, *arguments)

    def take_back(self, command: int) -> None:
        """Take back a command that nobody has taken."""
        self._threads.submit(self._take_back, command)

    def _take_back(self, command: int) -> None:
        with contextlib.suppress(CloudError):  # no journal any more, so no command either
            self.reader().withdraw(command)

    def shape(self, rows: list[JobRow] | tuple[JobRow, ...]) -> list[dict[str, Any]]:
        """Return jobs as the panel is sent them."""
        now = self.clock()
        lookout = Lookout(now)
        return [
            shaping.job(
                row,
                now=now,
                places=self.places,
                is_gone=lookout.is_gone(pid=row.pid, host=row.host, token=row.token),
            )
            for row in rows
        ]
