"""An emulated account for all tests here; each has a prefix of its own in it, and so an empty place."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from cloudbutton_backend.backends.aws_lambda.boto_clients import BotoClients
from cloudbutton_backend.backends.aws_lambda.deployment import DesiredDeployment
from cloudbutton_backend.backends.aws_lambda.emulator import EmulatedFaults, Emulator, LambdaLimits
from cloudbutton_backend.backends.aws_lambda.resource_names import DeploymentTarget
from cloudbutton_backend.backends.aws_lambda.runtimes import notebook_python

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def the_emulator() -> Iterator[Emulator]:
    # Functions are ready at once: that they are waited for has a test of its own.
    with Emulator(limits=LambdaLimits(pending_seconds=0.0)) as emulator:
        yield emulator


@pytest.fixture
def emulator(the_emulator: Emulator) -> Iterator[Emulator]:
    yield the_emulator
    the_emulator.set_faults(EmulatedFaults())


@pytest.fixture(scope="session")
def clients(the_emulator: Emulator) -> BotoClients:
    return BotoClients(
        the_emulator.region,
        the_emulator.endpoints,
        environment=the_emulator.environment,
        purpose="deploy",
    )


@pytest.fixture
def home(clients: BotoClients) -> DeploymentTarget:
    return DeploymentTarget(
        prefix=f"test{next(_numbers)}",
        account=clients.account,
        region=clients.region,
        python=notebook_python(),
    )


@pytest.fixture
def desired(home: DeploymentTarget) -> DesiredDeployment:
    return DesiredDeployment(targets=(home, home.with_(memory=3008)), version="1.2.3")


@pytest.fixture
def without_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take away all that AWS's tools would find on this machine."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE",
                 "AWS_DEFAULT_REGION", "AWS_REGION"):  # fmt: skip
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere/config")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere/credentials")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
