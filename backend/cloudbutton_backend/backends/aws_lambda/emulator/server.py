"""The emulator's own process: everything is put together here.

::

    client ── Invoke ─▶ InvokeApi ──▶ EnvironmentPool ──▶ ExecutionEnvironment ⇄ awslambdaric
       │                   │ Event         ▲                   ▲                     ▲ fork
       │                   ▼               │                   │ ports               │
       │             AsyncInvocations ─────┘                   └── Runtime API       │
       │                                         ZygoteClient ═══ socket ═══ zygote process
       ├── other Lambda ──▶ ControlPlane ──▶ FunctionStore (zips, configuration)
       │                          │ forwards
       └── S3, IAM, STS, logs ────┴────────▶ moto, in a process of its own

One thread, one event loop: hundreds of runtimes waiting for work cost nothing. Standard input is the
lifeline: when it closes, or the parent is another one, the process that started us has died.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from aiohttp import web

from cloudbutton_backend.backends.aws_lambda.emulator import execution_environment, moto_process
from cloudbutton_backend.backends.aws_lambda.emulator.clock import EmulatorClock
from cloudbutton_backend.backends.aws_lambda.emulator.control_plane import ControlPlane
from cloudbutton_backend.backends.aws_lambda.emulator.emulated_faults import EmulatedFaults
from cloudbutton_backend.backends.aws_lambda.emulator.environment_pool import EnvironmentPool
from cloudbutton_backend.backends.aws_lambda.emulator.function_store import (
    FunctionStore,
    RequestRejected,
)
from cloudbutton_backend.backends.aws_lambda.emulator.iam_requests import (
    ApiCall,
    IamRequest,
    calls_of,
    lambda_operation,
)
from cloudbutton_backend.backends.aws_lambda.emulator.invoke_api import AsyncInvocations, InvokeApi
from cloudbutton_backend.backends.aws_lambda.emulator.limits import LambdaLimits
from cloudbutton_backend.backends.aws_lambda.emulator.zygote_client import ZygoteClient

#: Beside S3, these are moto's as well.
MOTO_SERVICES: Final = ("iam", "logs", "s3", "sts")
_OWN: Final = "/_emulator/"


class EmulatorServer:
    """The emulated account, and how it is looked at and steered from outside."""

    def __init__(
        self, folder: Path, limits: LambdaLimits, faults: EmulatedFaults, moto: str
    ) -> None:
        self._moto = moto
        clock = self._clock = EmulatorClock()
        self.zygote_client = ZygoteClient(folder)
        library = FunctionStore(folder, limits)
        endpoints: Mapping[str, str] = dict.fromkeys(MOTO_SERVICES, moto)
        self._pool = EnvironmentPool(self.zygote_client, library, limits, clock, folder, endpoints)
        self._events = AsyncInvocations(self._pool, library, limits, clock)
        self._invoker = InvokeApi(self._pool, self._events, library, limits, clock)
        self._control = ControlPlane(moto, library, self._pool, limits, clock)
        self._calls: list[ApiCall] = []
        self._set_faults(faults)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer a request to the Lambda endpoint."""
        path = request.raw_path.partition("?")[0]
        if path.startswith(_OWN):
            return web.json_response(await self._own(path[len(_OWN) :], request))
        headers = {name.lower(): value for name, value in request.headers.items()}
        seen = IamRequest(request.method, path, request.query_string, headers)
        if seen.scope is None:
            return _refusal(
                RequestRejected(
                    403, "MissingAuthenticationTokenException", "Missing Authentication Token"
                )
            )
        region = seen.scope[1]
        operation = lambda_operation(request.method, path)
        invoked = operation is not None and operation.action == "InvokeFunction"
        if not invoked:
            body = await request.read()
            seen = IamRequest(request.method, path, request.query_string, headers, body)
        self._calls += calls_of(seen, time.time())
        try:
            if invoked and operation is not None:
                answer = await self._invoker.invoke(request, region, operation.parts["f"])
                if answer is None:  # the fault of a lost answer
                    assert request.transport is not None
                    request.transport.abort()
                    return web.Response()
                return answer
            return await self._control.answer(request, operation, region)
        except RequestRejected as refused:
            return _refusal(refused)

    async def _own(self, what: str, request: web.BaseRequest) -> Any:
        """Answer what the emulator's user asks of the emulator itself."""
        if what == "calls":
            return [asdict(call) for call in self._calls]
        if what == "reports":
            return [asdict(report) for report in self._pool.reports]
        if what == "dropped":
            return [asdict(dropped) for dropped in self._events.dropped]
        if what == "state":
            return {
                "environments": [
                    {"function": e.function.name, "state": e.state.value, "pid": e.pid}
                    for e in self._pool.environments
                ],
                "queued_events": len(self._events),
            }
        body = json.loads(await request.read())
        if what == "advance":
            self._clock.advance(body["seconds"])
        elif what == "faults":
            self._set_faults(faults_from(body))
        return {}

    def _set_faults(self, faults: EmulatedFaults) -> None:
        self._invoker.faults = self._control.faults = faults

    async def close(self) -> None:
        await self._events.close()
        await self._pool.close()
        await self._control.close()
        self.zygote_client.close()


def faults_from(plain: dict[str, Any]) -> EmulatedFaults:
    """Return the faults that were sent as JSON, which knows no numbers as keys."""
    script = {int(number): fault for number, fault in plain.pop("script", {}).items()}
    return EmulatedFaults(script=script, **plain)


def limits_from(plain: dict[str, Any]) -> LambdaLimits:
    """Return the limits that were sent as JSON, which knows no tuples."""
    return LambdaLimits(**{**plain, "retry_seconds": tuple(plain["retry_seconds"])})


def _refusal(refused: RequestRejected) -> web.Response:
    return web.json_response(
        {"Type": "User", "message": refused.message, "Message": refused.message},
        status=refused.status,
        headers={"x-amzn-ErrorType": refused.kind},
    )


def _listen(port: int = 0) -> socket.socket:
    listening = socket.create_server(("127.0.0.1", port), backlog=1024)
    listening.setblocking(False)
    return listening


def _start_moto(listening: socket.socket) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        moto_process.command(moto_process.__name__, str(listening.fileno())),
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        pass_fds=[listening.fileno()],
        start_new_session=True,
    )


async def _serve(config: dict[str, Any]) -> None:
    loop = asyncio.get_running_loop()
    parent = os.getppid()
    stop = asyncio.Event()
    listening = _listen()
    with listening:
        moto = _start_moto(listening)
        moto_url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    service = EmulatorServer(
        Path(config["folder"]),
        limits_from(config["limits"]),
        faults_from(config["faults"]),
        moto_url,
    )
    service.zygote_client.failed.add_done_callback(lambda _: stop.set())
    handler = execution_environment.server(service.handle)
    server = await loop.create_server(handler, sock=_listen(config["port"]))
    os.set_blocking(0, False)
    loop.add_reader(0, lambda: stop.set() if _at_end(0) else None)
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_signal_handler(signal.SIGINT, lambda: None)
    endpoints = {
        "lambda": f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}",
        **dict.fromkeys(MOTO_SERVICES, moto_url),
    }
    print(json.dumps(endpoints), flush=True)  # noqa: T201
    while not stop.is_set() and os.getppid() == parent and moto.poll() is None:
        try:
            await asyncio.wait_for(stop.wait(), 1.0)
        except asyncio.TimeoutError:
            continue
    server.close()
    await service.close()
    assert moto.stdin is not None
    moto.stdin.close()
    try:
        moto.wait(5)
    except subprocess.TimeoutExpired:
        moto.kill()
    shutil.rmtree(config["folder"], ignore_errors=True)  # our user may have been killed


def _at_end(descriptor: int) -> bool:
    try:
        return not os.read(descriptor, 4096)  # ends: the descriptor does not block
    except BlockingIOError:
        return False


def main() -> None:
    """Run the emulator as the first argument, JSON, says."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # three for each environment
    asyncio.run(_serve(json.loads(sys.argv[1])))
