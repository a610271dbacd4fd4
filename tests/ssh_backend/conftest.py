"""A server for all tests of this folder that do it no harm."""

from __future__ import annotations

import atexit
from collections.abc import Iterator
from functools import cache

import pytest

from tests.ssh_backend.server import SshServer


@cache
def shared_server() -> SshServer:
    """Return a server, started once."""
    server = SshServer()
    atexit.register(server.close)
    return server


@pytest.fixture
def server() -> Iterator[SshServer]:
    """Return a server of the test's own."""
    server = SshServer()
    yield server
    server.close()


other_server = server
