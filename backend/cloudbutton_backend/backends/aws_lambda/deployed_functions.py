"""Which functions there are for jobs: looked for once, and asked for from the event loop."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final

from cloudbutton_backend.backends.aws_lambda.boto_clients import BotoClients
from cloudbutton_backend.backends.aws_lambda.connection import LambdaConnection, equip
from cloudbutton_backend.backends.aws_lambda.deployment.actual import ActualFunction
from cloudbutton_backend.backends.aws_lambda.deployment.preflight import require_deployed
from cloudbutton_backend.backends.aws_lambda.resource_names import DeploymentTarget
from cloudbutton_backend.backends.aws_lambda.settings import LambdaSettings
from cloudbutton_backend.errors import CloudError

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
