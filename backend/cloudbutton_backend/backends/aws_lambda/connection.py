"""From settings to AWS: account, region, endpoints, and the functions deployed there."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import urlsplit

from cloudbutton_backend.backends.aws_lambda.boto_clients import BotoClients
from cloudbutton_backend.backends.aws_lambda.deployment import DesiredDeployment, deploy
from cloudbutton_backend.backends.aws_lambda.deployment.actual import ActualFunction
from cloudbutton_backend.backends.aws_lambda.deployment.preflight import require_deployed
from cloudbutton_backend.backends.aws_lambda.environments import (
    EnvironmentLock,
    ensure_environment,
    lock_for,
)
from cloudbutton_backend.backends.aws_lambda.function_archive import version
from cloudbutton_backend.backends.aws_lambda.resource_names import DeploymentTarget
from cloudbutton_backend.backends.aws_lambda.runtimes import Platform, notebook_python, runtime_for
from cloudbutton_backend.backends.aws_lambda.settings import LambdaSettings
from cloudbutton_backend.backends.aws_lambda.signing import Endpoint
from cloudbutton_backend.errors import CloudError

_EMULATED_REGION: Final = "us-east-1"


@dataclass(frozen=True)
class LambdaConnection:
    """An account that can be asked."""

    clients: BotoClients
    home: DeploymentTarget
    """The function that jobs use which ask for nothing in particular."""
    endpoints: dict[str, Endpoint]


def region_of(settings: LambdaSettings, clients: BotoClients | None) -> str:
    """Return the region whose prices count, without asking anybody."""
    if clients is not None:
        return clients.region
    if settings.emulate:
        return settings.region or _EMULATED_REGION
    return BotoClients(settings.region, profile=settings.profile).region


def connect(settings: LambdaSettings, clients: BotoClients | None = None) -> LambdaConnection:
    """Return a connection. Takes a second, as the client library reads its data, and asks AWS once.

    Parameters
    ----------
    clients
        Instead of those that the settings make.

    Raises
    ------
    CloudServiceError
        There are no credentials, or AWS does not accept them.
    UsageError
        Lambda does not run the notebook's Python.
    """
    if clients is None:
        clients = _emulated(settings) if settings.emulate else _real(settings)
    arch = Platform.here().arch if settings.emulate else settings.arch
    home = DeploymentTarget(
        prefix=settings.prefix,
        account=clients.account,
        region=clients.region,
        arch=arch,
        python=runtime_for(notebook_python()).python,
        memory=settings.memory,
    )
    return LambdaConnection(clients, home, _endpoints(clients, home))


def equip(
    settings: LambdaSettings,
    connection: LambdaConnection,
    target: DeploymentTarget,
    imports: Iterable[str],
) -> ActualFunction:
    """Return the function with the packages that code imports; it is deployed when this returns.

    Into the emulator the base function is deployed as well, which costs nobody anything.

    Raises
    ------
    NotDeployed
        It is not there, or was deployed by another version; the error says what helps.
    PackagesDoNotFit
        A package cannot be had for Lambda.
    """
    clients = connection.clients
    if settings.emulate:
        deploy(clients, DesiredDeployment(targets=(target,), version=version()), pause=_soon)
    lock = _lock(settings, target, sorted(imports))
    if lock is not None:
        pause = _soon if settings.emulate else time.sleep
        say = _into_the_void if settings.emulate else _beside_the_cell
        target = ensure_environment(clients, target, lock, say=say, pause=pause)
    return require_deployed(clients, target)


def _lock(
    settings: LambdaSettings, target: DeploymentTarget, imports: Sequence[str]
) -> EnvironmentLock | None:
    if not imports:
        return None
    if not settings.emulate:
        return lock_for(imports, Platform.on_lambda(target.python, target.arch))
    lock = lock_for(imports, Platform.here())
    if lock is None:
        return None
    # What is installed here fits the emulator: no wheel needs to be fetched.
    pins = (replace(pin, origin="copied", digest=pin.digest or "here") for pin in lock.pins)
    return replace(lock, pins=tuple(pins))


def _beside_the_cell(line: str) -> None:
    # What follows takes minutes at times, before there is a job that could show it.
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def _into_the_void(line: str) -> None:
    """In the emulator it takes a moment."""


def _soon(seconds: float) -> None:
    time.sleep(min(seconds, 0.1))


def _real(settings: LambdaSettings) -> BotoClients:
    return BotoClients(settings.region, profile=settings.profile)


def _emulated(settings: LambdaSettings) -> BotoClients:
    # By name: what stands in for AWS lies above us, as all that is for testing, and nothing here needs it.
    module: Any = importlib.import_module("cloudbutton_backend.backends.aws_lambda.emulator")
    emulator = module.Emulator.shared()
    return BotoClients(
        settings.region or _EMULATED_REGION, emulator.endpoints, environment=emulator.environment
    )


def _endpoints(clients: BotoClients, home: DeploymentTarget) -> dict[str, Endpoint]:
    functions = urlsplit(clients.client("lambda").meta.endpoint_url)
    storage = urlsplit(clients.client("s3").meta.endpoint_url)
    if "s3" in clients.endpoints:
        bucket = Endpoint("s3", home.region, storage.scheme, storage.netloc, f"/{home.bucket}")
    else:
        host = f"{home.bucket}.{storage.netloc}"
        bucket = Endpoint("s3", home.region, storage.scheme, host)
    return {
        "lambda": Endpoint("lambda", home.region, functions.scheme, functions.netloc),
        "s3": bucket,
    }


#: Sizes to try where an item ran out of memory: those that buy whole vCPUs, and the usual one between.
_SIZES: Final = (1769, 3008, 3538, 5307, 7076, 8845, 10_240)


class DeployedFunctions:
    """The functions of one account, as far as jobs have asked for them."""

    def __init__(self, settings: LambdaSettings, connection: LambdaConnection) -> None:
        self._settings, self._connection = settings, connection
        self._found: dict[
            tuple[DeploymentTarget, frozenset[str]], asyncio.Future[ActualFunction]
        ] = {}
        self._larger: dict[DeploymentTarget, asyncio.Future[int | None]] = {}

    async def equipped(self, target: DeploymentTarget, imports: frozenset[str]) -> ActualFunction:
        """Return the function with the packages that code imports; see `connecting.equip`.

        What failed is tried again by the next job: somebody may have deployed it by then.
        """
        wanted = target, imports
        look = self._found.get(wanted)
        if look is None or (look.done() and look.exception() is not None):
            work = asyncio.to_thread(equip, self._settings, self._connection, target, imports)
            look = self._found[wanted] = asyncio.ensure_future(work)
        return await asyncio.shield(look)

    async def larger(self, target: DeploymentTarget) -> int | None:
        """Return the next larger memory with which a function is deployed, None if there is none."""
        if target not in self._larger:
            work = asyncio.to_thread(_next_size, self._connection.clients, target)
            self._larger[target] = asyncio.ensure_future(work)
        return await asyncio.shield(self._larger[target])


def _next_size(clients: BotoClients, target: DeploymentTarget) -> int | None:
    for size in _SIZES:
        if size > target.memory:
            with contextlib.suppress(CloudError):
                require_deployed(clients, target.with_(memory=size))
                return size
    return None
