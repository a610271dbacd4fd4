"""An emulated account for all tests here; each has a prefix of its own in it, and so an empty place."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from cloudbutton_backend.backends.aws_lambda.clients import Clients
from cloudbutton_backend.backends.aws_lambda.deploying import Wish
from cloudbutton_backend.backends.aws_lambda.names import Target
from cloudbutton_backend.backends.aws_lambda.runtimes import notebook_python
from cloudbutton_backend.testing.lambda_emulator import Emulator, Faults, Limits

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def the_emulator() -> Iterator[Emulator]:
    # Functions are ready at once: that they are waited for has a test of its own.
    with Emulator(limits=Limits(pending_seconds=0.0)) as emulator:
        yield emulator


@pytest.fixture
def emulator(the_emulator: Emulator) -> Iterator[Emulator]:
    yield the_emulator
    the_emulator.set_faults(Faults())


@pytest.fixture(scope="session")
def clients(the_emulator: Emulator) -> Clients:
    return Clients(
        the_emulator.region,
        the_emulator.endpoints,
        environment=the_emulator.environment,
        purpose="deploy",
    )


@pytest.fixture
def home(clients: Clients) -> Target:
    return Target(
        prefix=f"test{next(_numbers)}",
        account=clients.account,
        region=clients.region,
        python=notebook_python(),
    )


@pytest.fixture
def wish(home: Target) -> Wish:
    return Wish(targets=(home, home.with_(memory=3008)), version="1.2.3")
