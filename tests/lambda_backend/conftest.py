"""An emulated AWS account for all tests of this folder, with the function deployed."""

from __future__ import annotations

import atexit
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import pytest

from cloudbutton_backend.backends.aws_lambda.backend import LambdaBackend
from cloudbutton_backend.backends.aws_lambda.boto_clients import BotoClients
from cloudbutton_backend.backends.aws_lambda.connection import LambdaConnection, connect
from cloudbutton_backend.backends.aws_lambda.emulator import EmulatedFaults, Emulator, LambdaLimits
from cloudbutton_backend.backends.aws_lambda.settings import LambdaSettings


@cache
def shared_emulator() -> Emulator:
    """Return the account that tests share which need nothing special; started once."""
    emulator = Emulator(limits=LambdaLimits(concurrency=10))
    emulator.start()
    atexit.register(emulator.close)
    return emulator


def clients_of(emulator: Emulator) -> BotoClients:
    return BotoClients(emulator.region, emulator.endpoints, environment=emulator.environment)


def connector_of(emulator: Emulator) -> Callable[[LambdaSettings], LambdaConnection]:
    """Return how a backend connects to an emulated account, deploying what is missing."""
    return lambda settings: connect(settings, clients_of(emulator))


def new_backend(emulator: Emulator, workers: int = 2, **settings: Any) -> LambdaBackend:
    """Return a backend on an emulated account, for which nothing has to be deployed beforehand."""
    return LambdaBackend(
        LambdaSettings(workers=workers, emulate=True, **settings), connector=connector_of(emulator)
    )


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    """Return the shared account, faultless again afterwards."""
    emulator = shared_emulator()
    yield emulator
    emulator.set_faults(EmulatedFaults())
