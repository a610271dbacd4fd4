"""A cluster for all tests of this folder that do it no harm."""

from __future__ import annotations

import atexit
from collections.abc import Iterator
from functools import cache

import pytest

from cloudbutton_backend.backends.dask.backend import DaskBackend
from cloudbutton_backend.backends.dask.settings import DaskSettings
from cloudbutton_backend.testing.conformance import TaskPlace
from tests.dask_backend.clusters import Commands


@cache
def shared_cluster() -> Commands:
    """Return a scheduler with two workers, started once."""
    commands = Commands(workers=2)
    atexit.register(commands.close)
    return commands


@pytest.fixture
def commands() -> Iterator[Commands]:
    """Return a cluster of the test's own."""
    commands = Commands(workers=2)
    yield commands
    commands.close()


@pytest.fixture(scope="module")
def place() -> Iterator[TaskPlace]:
    """Return a place on the shared cluster."""
    place = TaskPlace(DaskBackend(DaskSettings(address=shared_cluster().address, workers=4)))
    yield place
    place.session.close()
