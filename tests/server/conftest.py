"""A Jupyter server with our extension, and a journal that the real `Journal` writes."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import platformdirs
import pytest

# The fixtures themselves, for these tests only: as a plug-in they would be everybody's, with an
# event loop for each test, and pytest takes plug-ins from the topmost conftest alone.
from pytest_jupyter.jupyter_core import *  # noqa: F403
from pytest_jupyter.jupyter_server import *  # noqa: F403
from tornado.httpclient import HTTPClientError
from traitlets.config import Config

from cloudbutton_backend.job_model import JobRecord
from cloudbutton_backend.journal import Journal

from . import processes

#: Seconds that a message may take where everything is well in milliseconds.
PATIENCE = 20.0


class Answer(NamedTuple):
    """What the server said."""

    status: int
    body: Any


Ask = Callable[..., Answer]


@pytest.fixture
def jp_server_config(home: Path) -> Config:
    return Config({"ServerApp": {"jpserver_extensions": {"cloudbutton_ext": True}}})


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "home of jobs"
    path.mkdir(mode=0o700)
    monkeypatch.setenv("CLOUDBUTTON_HOME", str(path))
    monkeypatch.setattr(
        platformdirs, "user_config_dir", lambda *_, **__: str(tmp_path / "settings")
    )
    return path


@pytest.fixture(autouse=True)
def _end_processes() -> Iterator[None]:
    yield
    while processes.started:
        process = processes.started.pop()
        process.kill()
        process.communicate()


@pytest.fixture
def journal(home: Path) -> Iterator[Journal]:
    journal = Journal.open(home)
    yield journal
    journal.close()


@pytest.fixture
def ask(jp_fetch: Any, jp_asyncio_loop: asyncio.AbstractEventLoop) -> Ask:
    """Send a request to an endpoint and return status and JSON, of errors, too."""

    def ask(path: str, *, method: str = "GET", body: Any = None, **params: Any) -> Answer:
        more: dict[str, Any] = {} if method == "GET" else {"body": json.dumps(body or {})}
        fetching = jp_fetch("cloudbutton", "api", path, method=method, params=params, **more)
        try:
            response = jp_asyncio_loop.run_until_complete(fetching)
        except HTTPClientError as error:
            response = error.response
            assert response is not None
        return Answer(response.code, json.loads(response.body))

    return ask


class Panel:
    """A panel's websocket."""

    def __init__(self, socket: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._socket, self._loop = socket, loop
        self._closed = False

    def send(self, message: Any) -> None:
        """Send JSON, or text as it is."""
        text = message if isinstance(message, str) else json.dumps(message)
        self._loop.run_until_complete(self._socket.write_message(text))

    def next(self, kind: str | None = None) -> Any:
        """Return the next message, or the next of a kind."""
        while True:
            reading = asyncio.wait_for(_read(self._socket), PATIENCE)
            message = json.loads(self._loop.run_until_complete(reading))
            if kind in (None, message["type"]):
                return message

    def until(self, is_right: Callable[[Any], bool]) -> Any:
        """Return the first message that is right; before it comes, others may."""
        message = self.next()
        while not is_right(message):
            message = self.next()
        return message

    def close(self) -> None:
        """Close the connection, and see it closed. Safe to repeat."""
        if not self._closed:
            self._closed = True
            self._socket.close()
            while self._loop.run_until_complete(asyncio.wait_for(_read(self._socket), PATIENCE)):
                pass


async def _read(socket: Any) -> Any:
    return await socket.read_message()


@pytest.fixture
def connect(
    jp_ws_fetch: Any, jp_asyncio_loop: asyncio.AbstractEventLoop
) -> Iterator[Callable[..., Panel]]:
    """Open the websocket as a panel does."""
    panels = []

    def connect(**params: Any) -> Panel:
        opening = jp_ws_fetch("cloudbutton", "api", "changes", params=params)
        panels.append(Panel(jp_asyncio_loop.run_until_complete(_get(opening)), jp_asyncio_loop))
        return panels[-1]

    yield connect
    for panel in panels:
        panel.close()


async def _get(waiting: Any) -> Any:
    return await waiting


def a_job(job_id: str = "abcd2345", **changes: Any) -> JobRecord:
    """Return a job of this process, which is alive."""
    fields: dict[str, Any] = {
        "name": "scores", "kind": "map", "backend": "local", "n_items": 10,
        "created": time.time(), "pid": os.getpid(), "host": socket.gethostname(),
    }  # fmt: skip
    return JobRecord(id=job_id, **(fields | changes))
