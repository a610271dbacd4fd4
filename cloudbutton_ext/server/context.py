"""The context shared by all endpoints of a server: the journal, paths, threads, the feed."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import threading
import time
from asyncio import Task
from collections.abc import Callable, Coroutine, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from cloudbutton_backend.errors import CloudError
from cloudbutton_backend.journal import JobRow, JournalReader
from cloudbutton_backend.journal.liveness import LivenessCheck
from cloudbutton_backend.settings import SettingsSources
from cloudbutton_ext.server import serializers
from cloudbutton_ext.server.broadcast import Broadcaster
from cloudbutton_ext.server.public_paths import PublicPaths

Value = TypeVar("Value")


class ServerContext:
    """One per Jupyter server.

    Parameters
    ----------
    paths
        Where the server's notebooks are.
    clock
        Unix time.
    """

    def __init__(self, paths: PublicPaths, *, clock: Callable[[], float] = time.time) -> None:
        self.paths = paths
        self.clock = clock
        self.broadcaster = Broadcaster(self)
        self._under_way: dict[Hashable, Task[Any]] = {}
        self._threads = ThreadPoolExecutor(max_workers=4, thread_name_prefix="cloudbutton")

    def __repr__(self) -> str:
        return f"<ServerContext of {self.paths.root.name}>"

    def reader(self) -> JournalReader:
        """Return the user's journal. Looked up each time: it may be created, moved or started over."""
        return JournalReader(clock=self.clock)

    async def run_in_thread(self, function: Callable[..., Value], *arguments: Any) -> Value:
        """Call a function on one of our threads."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, function, *arguments)

    async def run_in_own_thread(self, function: Callable[..., Value], *arguments: Any) -> Value:
        """Call a function that may take long, on a thread of its own.

        Looking at jobs does not wait for it, nor does the end of the server.
        """
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Value] = loop.create_future()

        def settle(outcome: Callable[[Any], None], value: Any) -> None:
            if not answer.done():
                outcome(value)

        def call() -> None:
            found: tuple[Callable[[Any], None], Any]
            try:
                found = answer.set_result, function(*arguments)
            except BaseException as error:  # `sys.exit` in a user's backend must not end the server
                known = isinstance(error, Exception)
                found = answer.set_exception, error if known else RuntimeError(repr(error))
            with contextlib.suppress(RuntimeError):  # the server may have ended
                loop.call_soon_threadsafe(settle, *found)

        threading.Thread(target=call, name="cloudbutton-slow", daemon=True).start()
        return await answer  # ends: a check is given up, and a self-test's process ended

    def settings_sources(self, notebook: str = "") -> SettingsSources:
        """Return what settings are read from for a notebook, as the contents API calls it."""
        directory = self.paths.directory(notebook)
        return dataclasses.replace(SettingsSources.here(), directory=directory)

    def withdraw_command(self, command: int) -> None:
        """Withdraw a command that has not been taken."""
        self._threads.submit(self._withdraw_command, command)

    def _withdraw_command(self, command: int) -> None:
        with contextlib.suppress(CloudError):  # no journal any more, so no command either
            self.reader().withdraw(command)

    def share_task(
        self, key: Hashable, start: Callable[[], Coroutine[Any, Any, Value]]
    ) -> Task[Value]:
        """Return what is under way for `key`, which is started unless it is."""
        if key not in self._under_way:
            task = asyncio.get_running_loop().create_task(start())
            task.add_done_callback(lambda _: self._under_way.pop(key))
            self._under_way[key] = task
        return self._under_way[key]

    def is_gone(self, row: JobRow, liveness: LivenessCheck | None = None) -> bool:
        """Whether the process that ran a job is known not to be there."""
        look = liveness or LivenessCheck(self.clock())
        return look.is_gone(pid=row.pid, host=row.host, token=row.token)

    def serialize_jobs(self, rows: Sequence[JobRow]) -> list[dict[str, Any]]:
        """Return jobs as the panel is sent them."""
        now = self.clock()
        liveness = LivenessCheck(now)
        return [
            serializers.job(row, now=now, paths=self.paths, is_gone=self.is_gone(row, liveness))
            for row in rows
        ]
