"""The connection to AWS that settings choose: account, region, endpoints, and deployed functions."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final
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
    """An account, and how to reach it."""

    clients: BotoClients
    home: DeploymentTarget
    """The function for jobs that ask for nothing in particular."""
    endpoints: dict[str, Endpoint]


def region_of(settings: LambdaSettings, clients: BotoClients | None) -> str:
    """Return the region whose prices count, without a request."""
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
        clients = _emulator_clients(settings) if settings.emulate else _aws_clients(settings)
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


def ensure_function(
    settings: LambdaSettings,
    connection: LambdaConnection,
    target: DeploymentTarget,
    imports: Iterable[str],
) -> ActualFunction:
    """Return the function with the packages that code imports, deploying the packages if necessary.

    In the emulator, where that is free, the base function is deployed as well.

    Raises
    ------
    NotDeployed
        It is not there, or was deployed by another version; the error says what helps.
    PackagesDoNotFit
        A package cannot be had for Lambda.
    """
    clients = connection.clients
    if settings.emulate:
        deploy(
            clients, DesiredDeployment(targets=(target,), version=version()), pause=_pause_briefly
        )
    lock = _lock(settings, target, sorted(imports))
    if lock is not None:
        pause = _pause_briefly if settings.emulate else time.sleep
        say = _ignore_progress if settings.emulate else _print_progress
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


def _print_progress(line: str) -> None:
    # What follows takes minutes at times, before there is a job that could show it.
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def _ignore_progress(line: str) -> None:
    """Print nothing: the emulator is quick."""


def _pause_briefly(seconds: float) -> None:
    time.sleep(min(seconds, 0.1))


def _aws_clients(settings: LambdaSettings) -> BotoClients:
    return BotoClients(settings.region, profile=settings.profile)


def _emulator_clients(settings: LambdaSettings) -> BotoClients:
    from cloudbutton_backend.backends.aws_lambda.emulator import Emulator

    emulator = Emulator.shared()
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
    """The functions of one account that jobs have used, each looked up once."""

    def __init__(self, settings: LambdaSettings, connection: LambdaConnection) -> None:
        self._settings, self._connection = settings, connection
        self._found: dict[
            tuple[DeploymentTarget, frozenset[str]], asyncio.Future[ActualFunction]
        ] = {}
        self._larger: dict[DeploymentTarget, asyncio.Future[int | None]] = {}

    async def with_packages(
        self, target: DeploymentTarget, imports: frozenset[str]
    ) -> ActualFunction:
        """Return the function with the packages that code imports; see `ensure_function`.

        What failed is tried again by the next job: it may have been deployed by then.
        """
        wanted = target, imports
        task = self._found.get(wanted)
        if task is None or (task.done() and task.exception() is not None):
            work = asyncio.to_thread(
                ensure_function, self._settings, self._connection, target, imports
            )
            task = self._found[wanted] = asyncio.ensure_future(work)
        return await asyncio.shield(task)

    async def larger_memory(self, target: DeploymentTarget) -> int | None:
        """Return the next larger memory with which a function is deployed, None if there is none."""
        if target not in self._larger:
            work = asyncio.to_thread(_larger_memory, self._connection.clients, target)
            self._larger[target] = asyncio.ensure_future(work)
        return await asyncio.shield(self._larger[target])


def _larger_memory(clients: BotoClients, target: DeploymentTarget) -> int | None:
    for size in _SIZES:
        if size > target.memory:
            with contextlib.suppress(CloudError):
                require_deployed(clients, target.with_(memory=size))
                return size
    return None
