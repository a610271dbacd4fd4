"""An emulated account for all tests here; each has a prefix of its own in it, and so an empty place."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from cloudbutton_backend.backends.aws_lambda.boto_clients import Clients
from cloudbutton_backend.backends.aws_lambda.deployment import Wish
from cloudbutton_backend.backends.aws_lambda.emulator import Emulator, Faults, Limits
from cloudbutton_backend.backends.aws_lambda.resource_names import Target
from cloudbutton_backend.backends.aws_lambda.runtimes import notebook_python

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


@pytest.fixture
def without_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take away all that AWS's tools would find on this machine."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE",
                 "AWS_DEFAULT_REGION", "AWS_REGION"):  # fmt: skip
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere/config")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere/credentials")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
