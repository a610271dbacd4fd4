"""Asynchronous invocations: queued, delivered at least once, tried again, dropped at last."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Final

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
from cloudbutton_backend.backends.aws_lambda.emulator.limits import LambdaLimits
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
        """How many have not been settled."""
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
