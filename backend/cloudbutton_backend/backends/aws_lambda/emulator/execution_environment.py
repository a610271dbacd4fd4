"""One execution environment: a process, its Runtime API, its log, its /tmp and its memory.

::

    start ──▶ STARTING ──next──▶ IDLE ⇄ BUSY        next: the runtime asks for work
                  │                │      │
                  └── init error, exit, time-out, memory ──▶ GONE

The Runtime API's address has no room for the environment's name, so each has a port of its own.
"""

from __future__ import annotations

import asyncio
import enum
import errno
import os
import shutil
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from aiohttp import web

from cloudbutton_backend.backends.aws_lambda.emulator import log_reports
from cloudbutton_backend.backends.aws_lambda.emulator.emulated_faults import Fault
from cloudbutton_backend.backends.aws_lambda.emulator.function_store import FunctionVersion
from cloudbutton_backend.backends.aws_lambda.emulator.limits import LambdaLimits
from cloudbutton_backend.backends.aws_lambda.emulator.log_reports import InvocationResult
from cloudbutton_backend.backends.aws_lambda.emulator.zygote_client import (
    ForkedProcess,
    ZygoteClient,
)

_LARGEST: Final = 1 << 30
Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


def server(handler: Handler) -> web.Server:
    """Return what `loop.create_server` needs to have every request answered by `handler`."""
    loop = asyncio.get_running_loop()

    def request(message: Any, payload: Any, protocol: Any, writer: Any, task: Any) -> Any:
        return web.BaseRequest(
            message, payload, protocol, writer, task, loop, client_max_size=_LARGEST
        )

    return web.Server(handler, request_factory=request, access_log=None)


_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


def of_tree(pid: int, limit: int) -> int:
    """Return the bytes that a process and its descendants have in memory.

    Pages that they share count for each of them at first, which is cheap to find out; only if that
    exceeds `limit` are they counted once.
    """
    family = _family(pid)
    total = sum(map(_resident, family))
    if total > limit and len(family) > 1:
        total = sum(map(_proportional, family))
    return total


def _family(pid: int) -> list[int]:
    found = [pid]
    for parent in found:  # grows while it is walked
        try:
            threads = os.listdir(f"/proc/{parent}/task")
            for thread in threads:
                with open(f"/proc/{parent}/task/{thread}/children", encoding="ascii") as file:
                    found += map(int, file.read().split())
        except OSError:  # it has ended
            continue
    return found


def _resident(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * _PAGE
    except OSError:
        return 0


def _proportional(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
            line = next(line for line in file if line.startswith("Pss:"))
            return int(line.split()[1]) * 1024
    except (OSError, StopIteration):
        return 0


_API: Final = "/2018-06-01/runtime/"
_MEGABYTE: Final = 1 << 20
_EXITS_WITHIN: Final = 5.0
"""Seconds that a killed process is waited for."""
_LOG_KEPT: Final = 256 * 1024
"""The log of one invocation is cut to this many bytes at its end."""


class EnvironmentState(enum.Enum):
    """The life-cycle state of an environment."""

    STARTING = "starting"
    IDLE = "idle"
    BUSY = "busy"
    GONE = "gone"


@dataclass(frozen=True, kw_only=True)
class Invocation:
    """One run of a function, as its environment receives it."""

    request_id: str
    payload: bytes
    arn: str
    trace: str = ""
    client_context: str = ""
    fault: Fault | None = None
    """What goes wrong with it; of that its environment is not told."""
    start_delay: float = 0.0
    """Seconds that a slow start takes, where that is the fault."""


class ExecutionEnvironment:
    """A sandbox of one function version, for one invocation at a time."""

    def __init__(
        self,
        function: FunctionVersion,
        zygote_client: ZygoteClient,
        limits: LambdaLimits,
        variables: Mapping[str, str],
        folder: Path,
    ) -> None:
        self.function = function
        self.state = EnvironmentState.STARTING
        self.peak_bytes = 0
        self._zygote_client = zygote_client
        self._limits = limits
        self._variables = variables
        self._folder = folder
        self._log = bytearray()
        self._log_fd = -1
        self._server: asyncio.Server | None = None
        self._child: ForkedProcess | None = None
        self._work: asyncio.Future[Invocation] | None = None
        """What the runtime waits for."""
        self._changed = asyncio.Event()
        self._reported: InvocationResult | None = None
        self._current: Invocation | None = None
        self._out_of_memory = False

    def __repr__(self) -> str:
        pid = self._child.pid if self._child else "none"
        return f"<Environment of {self.function.name}, {self.state.value}, process {pid}>"

    @property
    def is_alive(self) -> bool:
        """Whether its process has not ended by itself."""
        return self._child is not None and not self._child.exited.done()

    @property
    def pid(self) -> int | None:
        return self._child.pid if self._child else None

    async def start(self, request_id: str, *, seconds: float) -> InvocationResult | None:
        """Start and initialise; return None if it is ready for work, else how it failed.

        Parameters
        ----------
        request_id
            The invocation that made it necessary, to be named in the failure.
        seconds
            Time it has for that.
        """
        loop = asyncio.get_running_loop()
        self._folder.mkdir(parents=True)
        if self._server is None:
            handler = server(self._handle)
            self._server = await loop.create_server(handler, "127.0.0.1", 0, backlog=8)
        self.state = EnvironmentState.STARTING
        reading, writing = os.pipe()
        os.set_blocking(reading, False)
        self._log_fd = reading
        loop.add_reader(reading, self._drain)
        try:
            self._child = await self._zygote_client.start(self._spec(), writing)
        finally:
            os.close(writing)
        self._child.exited.add_done_callback(lambda _: self._changed.set())
        await self._until(
            lambda: self.state is EnvironmentState.IDLE or self._reported is not None, seconds
        )
        if self.state is EnvironmentState.IDLE:
            return None
        failure = self._outcome(request_id, seconds)
        await self.end()
        return failure

    async def run(self, invocation: Invocation, *, seconds: float) -> InvocationResult:
        """Run an invocation; afterwards the environment is IDLE again, or GONE."""
        assert (
            self.state is EnvironmentState.IDLE
            and self._work is not None
            and self._child is not None
        )
        self.state = EnvironmentState.BUSY
        self._current, self._reported = invocation, None
        self._child.thaw()
        if invocation.fault in ("crash_before", "timeout"):
            self._child.kill()
        self._work.set_result(invocation)
        self._work = None
        await self._until(lambda: self.state is EnvironmentState.IDLE, seconds)
        self._current = None
        self._measure()
        outcome = self._outcome(invocation.request_id, seconds)
        if self.state is not EnvironmentState.IDLE:
            await self.end()
        return outcome

    def take_log(self) -> str:
        """Return what has been printed since the last time."""
        self._drain()
        text = self._log.decode("utf-8", "replace")
        self._log.clear()
        return text.replace("\r", "\n")  # how the runtime client ends lines within one message

    def prepend_log(self, text: str) -> None:
        """Put before the log what an earlier attempt to initialise has printed."""
        self._log[:0] = text.encode()

    def watch_memory(self) -> None:
        """Kill the process if its memory exceeds the function's."""
        if self._child is None or self._child.exited.done():
            return
        self._measure()
        if self.peak_bytes > self.function.memory * _MEGABYTE:
            self._out_of_memory = True
            self._child.kill()

    async def end(self) -> None:
        """End the process, and remove what it leaves."""
        self.state = EnvironmentState.GONE
        if self._work is not None:
            self._work.cancel()
            self._work = None
        if self._child is not None:
            self._child.kill()
            await asyncio.wait([self._child.exited], timeout=_EXITS_WITHIN)
        if self._log_fd >= 0:
            self._drain()
            asyncio.get_running_loop().remove_reader(self._log_fd)
            os.close(self._log_fd)
            self._log_fd = -1
        if self._server is not None:
            self._server.close()
            self._server = None
        try:
            os.rmdir(self._folder)
        except OSError:  # something was written
            await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)

    def _outcome(self, request_id: str, seconds: float) -> InvocationResult:
        """Return what the process has reported, or what became of it instead."""
        assert self._child is not None
        if self._reported is not None:
            return self._reported
        if self._child.exited.done():
            status = self._child.exited.result()
            return log_reports.exited(request_id, status, out_of_memory=self._out_of_memory)
        return log_reports.timed_out(request_id, seconds)

    def _measure(self) -> None:
        if self._child is not None:
            limit = self.function.memory * _MEGABYTE
            used = of_tree(self._child.pid, limit)
            self.peak_bytes = max(self.peak_bytes, used)

    def _spec(self) -> dict[str, Any]:
        """Return what the zygote is to make of a fork."""
        function = self.function
        assert self._server is not None
        port = self._server.sockets[0].getsockname()[1]
        site = f"python/lib/{function.runtime}/site-packages"
        layers = function.layers or self._folder.parent / "no-layers"
        path = [str(function.code), str(layers / site), str(layers / "python")]
        own = {
            "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{port}",
            "LAMBDA_TASK_ROOT": str(function.code),
            "LAMBDA_RUNTIME_DIR": str(self._zygote_client.runtime),
            "LD_LIBRARY_PATH": f"{layers}/lib:{function.code}:{function.code}/lib",
            "PATH": f"{self._zygote_client.bin}:/usr/local/bin:/usr/bin:/bin:{layers}/bin",
            "PYTHONPATH": os.pathsep.join([*path, str(self._zygote_client.runtime)]),
            "TMPDIR": str(self._folder),
        }
        return {
            "env": {**self._variables, **function.variables, **own},
            "cwd": str(function.code),
            "path": path,
            "handler": function.handler,
            "executable": str(self._zygote_client.bin / "python3"),
            # The watch over the memory is what counts; this protects the machine between its looks.
            "data_bytes": (2 * function.memory + 512) * _MEGABYTE,
        }

    async def _until(self, condition: Any, seconds: float) -> None:
        """Wait until `condition` holds, the process has ended, or the time is over."""
        assert self._child is not None
        deadline = time.monotonic() + seconds
        while not condition() and not self._child.exited.done():
            self._changed.clear()
            left = deadline - time.monotonic()
            try:
                await asyncio.wait_for(self._changed.wait(), max(0.0, left))
            except asyncio.TimeoutError:
                return

    def _drain(self) -> None:
        """Read what the process has printed."""
        while self._log_fd >= 0:
            try:
                data = os.read(self._log_fd, 65536)  # ends: the descriptor does not block
            except OSError as error:
                if error.errno == errno.EAGAIN:
                    return
                raise
            if not data:  # no process has it open any more
                asyncio.get_running_loop().remove_reader(self._log_fd)
                return
            self._log += data
            if len(self._log) > _LOG_KEPT:
                del self._log[:-_LOG_KEPT]

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Serve the Runtime API."""
        path = request.path
        if path == _API + "invocation/next":
            return await self._next()
        if path == _API + "init/error":
            self._reported = log_reports.raised(await request.read(), _error_type(request))
            self._changed.set()
            return _accepted()
        verb = path.rpartition("/")[2]
        current = self._current
        if (
            self._child is None
            or current is None
            or path != f"{_API}invocation/{current.request_id}/{verb}"
        ):
            return _runtime_error(400, "InvalidRequestID", "Invalid request ID")
        body = await request.read()
        if current.fault == "crash_after":
            self._child.kill()
            return _accepted()
        if verb == "error":
            self._reported = log_reports.raised(body, _error_type(request))
        elif len(body) > self._limits.response_bytes:
            self._reported = log_reports.too_large(len(body), self._limits.response_bytes)
            message = (
                f"Exceeded maximum allowed payload size ({self._limits.response_bytes} bytes)."
            )
            return _runtime_error(413, "RequestEntityTooLarge", message)
        else:
            self._reported = InvocationResult(payload=body)
        return _accepted()

    async def _next(self) -> web.Response:
        """Wait for work with the runtime, which has ended what it had."""
        if self.state is EnvironmentState.GONE:
            return _runtime_error(403, "InvalidStateTransition", "This environment has ended")
        self.state = EnvironmentState.IDLE
        self._drain()
        work = self._work = asyncio.get_running_loop().create_future()
        self._changed.set()
        # A task that waited for this gets the next turn; freeze only if no work has come by then.
        asyncio.get_running_loop().call_soon(self._freeze_if_idle)
        invocation = await work  # ends: with the next call, or when end() cancels it
        deadline = int((time.time() + self.function.timeout) * 1000)
        headers = {
            "Lambda-Runtime-Aws-Request-Id": invocation.request_id,
            "Lambda-Runtime-Deadline-Ms": str(deadline),
            "Lambda-Runtime-Invoked-Function-Arn": invocation.arn,
        }
        if invocation.trace:
            headers["Lambda-Runtime-Trace-Id"] = invocation.trace
        if invocation.client_context:
            headers["Lambda-Runtime-Client-Context"] = invocation.client_context
        return web.Response(
            body=invocation.payload, headers=headers, content_type="application/json"
        )

    def _freeze_if_idle(self) -> None:
        if self._limits.freeze and self.state is EnvironmentState.IDLE and self._child is not None:
            self._child.freeze()


def _error_type(request: web.BaseRequest) -> str | None:
    return request.headers.get("Lambda-Runtime-Function-Error-Type")


def _accepted() -> web.Response:
    return web.json_response({"status": "OK"}, status=202)


def _runtime_error(status: int, kind: str, message: str) -> web.Response:
    return web.json_response({"errorMessage": message, "errorType": kind}, status=status)
