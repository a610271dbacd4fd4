"""The Invoke API: synchronous invocations, and asynchronous ones that are queued and retried."""

from __future__ import annotations

import asyncio
import itertools
import json
import math
import uuid
from dataclasses import replace
from typing import Final

from aiohttp import web

from cloudbutton_backend.backends.aws_lambda.emulator import log_reports, zygote_client
from cloudbutton_backend.backends.aws_lambda.emulator.clock import EmulatorClock
from cloudbutton_backend.backends.aws_lambda.emulator.emulated_faults import (
    EmulatedFaults,
    fault_of,
)
from cloudbutton_backend.backends.aws_lambda.emulator.environment_pool import EnvironmentPool
from cloudbutton_backend.backends.aws_lambda.emulator.execution_environment import Invocation
from cloudbutton_backend.backends.aws_lambda.emulator.function_store import (
    FunctionReference,
    FunctionStore,
    FunctionVersion,
    RequestRejected,
)
from cloudbutton_backend.backends.aws_lambda.emulator.limits import LambdaLimits, ThrottleReason
from cloudbutton_backend.backends.aws_lambda.emulator.log_reports import DroppedEvent

_CLOSES_WITHIN: Final = 5.0
"""Seconds that cancelled tasks are waited for."""
_REFUSED: Final = ("throttle", "server_error")
"""Faults of the request; once an event is queued they mean nothing."""


class AsyncInvocations:
    """The queue of events; each is a task that waits for its turn."""

    def __init__(
        self,
        pool: EnvironmentPool,
        library: FunctionStore,
        limits: LambdaLimits,
        clock: EmulatorClock,
    ) -> None:
        self._pool, self._library, self._limits, self._clock = pool, library, limits, clock
        self._tasks: set[asyncio.Task[None]] = set()
        self.dropped: list[DroppedEvent] = []

    def __len__(self) -> int:
        """The number of events that wait or run."""
        return len(self._tasks)

    def add(
        self, function: FunctionVersion, invocation: Invocation, number: int, faults: EmulatedFaults
    ) -> None:
        """Queue an event."""
        fault = fault_of(faults, number)
        for copy in range(2 if fault == "duplicate" else 1):
            task = asyncio.get_running_loop().create_task(
                self._deliver(function, invocation, number, faults, copy)
            )
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _deliver(
        self,
        function: FunctionVersion,
        invocation: Invocation,
        number: int,
        faults: EmulatedFaults,
        copy: int,
    ) -> None:
        queued = self._clock.now()
        reference = FunctionReference(function.name, function.version)
        deliveries = 0
        while True:
            try:
                entry, function = self._library.find(function.region, reference)
            except RequestRejected:
                return self._drop(invocation, function, deliveries, "FunctionDeleted")
            if self._clock.now() - queued > self._limits.event_age_seconds:
                return self._drop(invocation, function, deliveries, "EventAgeExceeded")
            if self._pool.admit(function) is not None:
                await self._pool.room()
                continue
            outcome, _log = await self._pool.run(
                function, self._with_fault(invocation, number, deliveries, copy, faults)
            )
            deliveries += 1
            if not outcome.failed:
                return None
            if deliveries > entry.retries:
                return self._drop(invocation, function, deliveries, "RetriesExhausted")
            waits = self._limits.retry_seconds
            await self._clock.sleep(waits[min(deliveries, len(waits)) - 1])

    def _with_fault(
        self, invocation: Invocation, number: int, delivery: int, copy: int, faults: EmulatedFaults
    ) -> Invocation:
        """Return a delivery; each one, and each copy's, draws for itself."""
        fault = fault_of(faults, number, delivery + 1000 * copy)
        return replace(
            invocation,
            fault=None if fault in _REFUSED else fault,
            start_delay=faults.slow_start_seconds if fault == "slow_start" else 0.0,
        )

    def _drop(
        self, invocation: Invocation, function: FunctionVersion, deliveries: int, reason: str
    ) -> None:
        self.dropped.append(
            DroppedEvent(
                request_id=invocation.request_id,
                function=function.name,
                deliveries=deliveries,
                reason=reason,
            )
        )

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_CLOSES_WITHIN)


_REQUEST: Final = "RequestResponse"
_EVENT: Final = "Event"


class InvokeApi:
    """Answers Invoke."""

    def __init__(
        self,
        pool: EnvironmentPool,
        events: AsyncInvocations,
        library: FunctionStore,
        limits: LambdaLimits,
        clock: EmulatorClock,
    ) -> None:
        self._pool, self._events, self._library = pool, events, library
        self._limits, self._clock = limits, clock
        self._numbers = itertools.count(1)
        self.faults = EmulatedFaults()

    async def invoke(
        self, request: web.BaseRequest, region: str, name: str
    ) -> web.StreamResponse | None:
        """Return the answer to a request, None where the connection is to break instead."""
        number = next(self._numbers)
        kind = request.headers.get("X-Amz-Invocation-Type", _REQUEST)
        limit = self._limits.event_bytes if kind == _EVENT else self._limits.request_bytes
        payload = await _payload(request, kind, limit)
        reference = FunctionReference.parse(name, request.query.get("Qualifier"))
        function = self._runnable(region, reference)
        request_id = str(uuid.uuid4())
        headers = _headers(request_id, function)
        if kind == "DryRun":
            return web.Response(status=204, headers=headers)
        fault = fault_of(self.faults, number)
        if fault == "server_error":
            raise RequestRejected(
                500, "ServiceException", "An internal error occurred (emulated fault)."
            )
        if fault == "throttle":
            return _throttled(ThrottleReason("ConcurrentInvocationLimitExceeded", 1.0), request_id)
        invocation = Invocation(
            request_id=request_id,
            payload=payload,
            arn=function.arn
            if reference.version is None
            else f"{function.arn}:{reference.version}",
            trace=f"Root=1-{request_id[:8]}-{request_id.replace('-', '')[8:]};Sampled=0",
            client_context=request.headers.get("X-Amz-Client-Context", ""),
            fault=fault,
            start_delay=self.faults.slow_start_seconds if fault == "slow_start" else 0.0,
        )
        if kind == _EVENT:
            self._events.add(function, invocation, number, self.faults)
            answer: web.StreamResponse = web.Response(status=202, headers=headers)
        else:
            wants_log = request.headers.get("X-Amz-Log-Type") == "Tail"
            answer = await self._run(function, invocation, headers, wants_log=wants_log)
        return None if fault == "lost_answer" else answer

    def _runnable(self, region: str, reference: FunctionReference) -> FunctionVersion:
        """Return the function that a request names, or refuse as long as it cannot be run."""
        entry, function = self._library.find(region, reference)
        if self._clock.now() < entry.ready_at and entry.is_new:
            raise RequestRejected(
                409,
                "ResourceConflictException",
                "The operation cannot be performed at this time. "
                "The function is currently in the following state: Pending",
            )
        if function.runtime != zygote_client.runtime_name():
            raise RequestRejected(
                502,
                "InvalidRuntimeException",
                f"The function wants {function.runtime}, and this emulator runs code with the "
                f"Python it was started by: {zygote_client.runtime_name()}",
            )
        return function

    async def _run(
        self,
        function: FunctionVersion,
        invocation: Invocation,
        headers: dict[str, str],
        *,
        wants_log: bool,
    ) -> web.StreamResponse:
        refused = self._pool.admit(function)
        if refused is not None:
            return _throttled(refused, invocation.request_id)
        outcome, log = await self._pool.run(function, invocation)
        if outcome.failed:
            headers["X-Amz-Function-Error"] = "Unhandled"
        if wants_log:
            headers["X-Amz-Log-Result"] = log_reports.tail(log)
        return web.Response(body=outcome.payload, headers=headers, content_type="application/json")


async def _payload(request: web.BaseRequest, kind: str, limit: int) -> bytes:
    """Read the payload, and refuse what is too large or not JSON."""
    if kind not in (_REQUEST, _EVENT, "DryRun"):
        raise RequestRejected(
            400, "InvalidParameterValueException", f"Invalid invocation type: {kind}"
        )
    payload = await request.read()
    if len(payload) > limit:
        raise RequestRejected(
            413,
            "RequestEntityTooLargeException",
            f"{len(payload)} byte payload is too large for the {kind} invocation type "
            f"(limit {limit} bytes)",
        )
    try:
        json.loads(payload or b"{}")
    except ValueError as error:
        message = f"Could not parse request body into json: {error}"
        raise RequestRejected(400, "InvalidRequestContentException", message) from None
    return payload or b"{}"


def _headers(request_id: str, function: FunctionVersion) -> dict[str, str]:
    return {
        "x-amzn-RequestId": request_id,
        "X-Amz-Executed-Version": function.version,
    }


def _throttled(refused: ThrottleReason, request_id: str) -> web.Response:
    headers = {
        "x-amzn-RequestId": request_id,
        "x-amzn-ErrorType": "TooManyRequestsException",
        "Retry-After": str(max(1, math.ceil(refused.retry_after))),
    }
    body = {"Reason": refused.reason, "Type": "User", "message": "Rate Exceeded."}
    return web.json_response(body, status=429, headers=headers)
