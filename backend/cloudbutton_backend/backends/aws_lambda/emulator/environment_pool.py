"""The environments of all functions: which run what, which wait, which have to end."""

from __future__ import annotations

import asyncio
import functools
import itertools
import math
import os
import time
from collections import defaultdict, deque
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cloudbutton_backend.backends.aws_lambda.emulator import limits, log_reports
from cloudbutton_backend.backends.aws_lambda.emulator.clock import EmulatorClock, wake
from cloudbutton_backend.backends.aws_lambda.emulator.environment_variables import variables_of
from cloudbutton_backend.backends.aws_lambda.emulator.execution_environment import (
    EnvironmentState,
    ExecutionEnvironment,
    Invocation,
)
from cloudbutton_backend.backends.aws_lambda.emulator.function_store import (
    FunctionStore,
    FunctionVersion,
    Key,
)
from cloudbutton_backend.backends.aws_lambda.emulator.limits import (
    AccountLoad,
    ConcurrencyAllowance,
    LambdaLimits,
    ThrottleReason,
)
from cloudbutton_backend.backends.aws_lambda.emulator.log_reports import (
    InvocationResult,
    ReportLine,
)
from cloudbutton_backend.backends.aws_lambda.emulator.zygote_client import ZygoteClient

_CLOSES_WITHIN: Final = 10.0
"""Seconds that what is ending is waited for."""
_LOOK: Final = 0.05
"""Seconds between checks of the memory of busy environments."""


@dataclass(frozen=True)
class _Start:
    """The environment in which an invocation begins."""

    environment: ExecutionEnvironment
    failure: InvocationResult | None
    """Why the environment is of no use, if it is not."""
    init_seconds: float | None
    """Time of the initialisation, None in a warm environment."""
    invoke_began: float
    """When the function's own time began: after the initialisation, if that went well."""


class EnvironmentPool:
    """Runs invocations in warm environments, or in new ones as far as the account allows."""

    def __init__(
        self,
        zygote_client: ZygoteClient,
        library: FunctionStore,
        limits: LambdaLimits,
        clock: EmulatorClock,
        folder: Path,
        endpoints: Mapping[str, str],
    ) -> None:
        self._zygote_client, self._library, self._limits = zygote_client, library, limits
        self._clock, self._folder, self._endpoints = clock, folder, endpoints
        self._numbers = itertools.count()
        self._idle: defaultdict[FunctionVersion, list[tuple[ExecutionEnvironment, float]]] = (
            defaultdict(list)
        )
        """Environments that wait for work, and since when, by what they can run."""
        self._busy: set[ExecutionEnvironment] = set()
        self._claimed: defaultdict[Key, int] = defaultdict(int)
        """Executions by function, from the moment they are admitted."""
        self._allowances: dict[Key, ConcurrencyAllowance] = {}
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._watch: asyncio.Task[None] | None = None
        self._next_expiry = math.inf
        # In the cloud each starts on a machine of its own. Here they take turns, so that the time
        # each one is billed for, and may take, is about its own.
        self._starting = asyncio.Semaphore(2 * (os.cpu_count() or 1))
        self._ending: set[asyncio.Task[None]] = set()
        self.reports: list[ReportLine] = []

    @property
    def environments(self) -> list[ExecutionEnvironment]:
        """All there are."""
        return [*self._busy, *(e for kept in self._idle.values() for e, _ in kept)]

    def admit(self, function: FunctionVersion) -> ThrottleReason | None:
        """Claim an execution of `function`; the caller runs it at once, or releases it."""
        key = function.key
        now = self._clock.now()
        allowance = self._allowances.get(key) or ConcurrencyAllowance.full(self._limits, now)
        allowance = allowance.at_time(now, self._limits)
        entries = self._library.entries
        reserved = {k: e.reserved for k, e in entries.items() if e.reserved is not None}
        load = AccountLoad(
            running=self._claimed[key],
            reserved=reserved.get(key),
            unreserved_running=sum(n for k, n in self._claimed.items() if k not in reserved),
            reserved_by_all=sum(reserved.values()),
            warm=any(environment.is_alive for environment, _ in self._idle[function]),
        )
        refused = limits.refusal(load, allowance, self._limits)
        if refused is None:
            self._claimed[key] += 1
            if not load.warm:
                allowance = allowance.less_one()
        self._allowances[key] = allowance
        return refused

    async def room(self) -> None:
        """Wait until an execution has ended."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        # The scaling rate may be what refuses, and then no end of an execution wakes a waiter.
        self._clock.call_at(self._clock.now() + 1.0, functools.partial(wake, waiter))
        await waiter  # ends: with the alarm at the latest

    def release(self, function: FunctionVersion) -> None:
        """Give a claim back."""
        self._claimed[function.key] -= 1
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                break

    async def run(
        self, function: FunctionVersion, invocation: Invocation
    ) -> tuple[InvocationResult, str]:
        """Run an admitted invocation; return how it ended, and its log."""
        try:
            return await self._run(function, invocation)
        finally:
            self.release(function)

    async def _run(
        self, function: FunctionVersion, invocation: Invocation
    ) -> tuple[InvocationResult, str]:
        start = await self._start(function, invocation)
        environment, before = start.environment, start.environment.take_log()
        try:
            left = function.timeout - (time.monotonic() - start.invoke_began)
            outcome = start.failure or await environment.run(invocation, seconds=left)
        finally:
            self._put_back(environment)
        seconds = time.monotonic() - start.invoke_began
        if invocation.fault == "timeout":
            outcome = log_reports.timed_out(invocation.request_id, function.timeout)
        if outcome.status == "timeout":
            seconds = function.timeout
        report = ReportLine(
            request_id=invocation.request_id,
            function=function.name,
            version=function.version,
            duration_ms=seconds * 1000,
            init_ms=None if start.init_seconds is None else start.init_seconds * 1000,
            memory_mb=function.memory,
            used_mb=min(function.memory, -(-environment.peak_bytes // (1 << 20))),
            status=outcome.status,
            error_type=outcome.error_type,
            architecture=function.architecture,
        )
        self.reports.append(report)
        return outcome, log_reports.log_of(report, before, environment.take_log())

    async def _start(self, function: FunctionVersion, invocation: Invocation) -> _Start:
        """Return a busy environment, or one that could not be initialised, and why."""
        warm = self._take(function)
        if warm is not None:
            return _Start(warm, None, None, time.monotonic())
        await self._make_room()
        self._start_watching()
        delay, request_id = invocation.start_delay, invocation.request_id
        environment = self._new(function)
        await asyncio.sleep(delay)
        async with self._starting:
            began = time.monotonic() - delay
            seconds = self._limits.init_seconds - delay
            failure = await self._initialise(environment, request_id, seconds)
        now = time.monotonic()
        if failure is None:
            return _Start(environment, None, now - began, now)
        # Lambda initialises once more, now within the function's own time.
        log = environment.take_log()
        await self._drop(environment)
        environment = self._new(function)
        failure = await self._initialise(environment, request_id, function.timeout)
        environment.prepend_log(log)
        return _Start(environment, failure, now - began, now)

    async def _initialise(
        self, environment: ExecutionEnvironment, request_id: str, seconds: float
    ) -> InvocationResult | None:
        try:
            return await environment.start(request_id, seconds=seconds)
        except BaseException:  # this task was cancelled: the process must not stay behind
            await self._drop(environment)
            raise

    def _take(self, function: FunctionVersion) -> ExecutionEnvironment | None:
        """Return the environment that was used last, which is busy from now on."""
        kept = self._idle[function]
        while kept:
            environment, _ = kept.pop()
            if environment.is_alive:
                self._busy.add(environment)
                return environment
            self._in_background(environment.end())
        return None

    def _new(self, function: FunctionVersion) -> ExecutionEnvironment:
        variables = variables_of(function, self._endpoints)
        folder = self._folder / f"tmp-{next(self._numbers)}"
        environment = ExecutionEnvironment(
            function, self._zygote_client, self._limits, variables, folder
        )
        self._busy.add(environment)
        return environment

    async def _make_room(self) -> None:
        """End the environment that has waited longest if there are as many as may run at a time."""
        while len(self.environments) >= self._limits.concurrency:
            waiting = [(since, kept) for kept in self._idle.values() for _, since in kept[:1]]
            if not waiting:
                return
            _, kept = min(waiting, key=lambda found: found[0])
            environment, _ = kept.pop(0)
            await environment.end()

    def _put_back(self, environment: ExecutionEnvironment) -> None:
        self._busy.discard(environment)
        if environment.state is not EnvironmentState.IDLE:
            return
        now = self._clock.now()
        self._idle[environment.function].append((environment, now))
        is_current = self._library.has(environment.function)
        self._expire_at(now + self._limits.idle_seconds if is_current else now)

    async def _drop(self, environment: ExecutionEnvironment) -> None:
        self._busy.discard(environment)
        await environment.end()

    def expire(self) -> None:
        """End environments that were idle for long, or whose function has changed."""
        now = self._clock.now()
        self._next_expiry = math.inf
        for function in list(self._idle):
            is_current = self._library.has(function)
            for environment, since in list(self._idle[function]):
                if is_current and now < since + self._limits.idle_seconds:
                    self._expire_at(since + self._limits.idle_seconds)
                else:
                    self._idle[function].remove((environment, since))
                    self._in_background(environment.end())
            if not self._idle[function]:
                del self._idle[function]

    def _expire_at(self, when: float) -> None:
        if when < self._next_expiry:
            self._next_expiry = when
            self._clock.call_at(when, self.expire)

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    def _start_watching(self) -> None:
        if self._watch is None:
            self._watch = asyncio.get_running_loop().create_task(self._watch_memory())

    async def _watch_memory(self) -> None:
        while True:
            for environment in list(self._busy):
                environment.watch_memory()
            await asyncio.sleep(max(_LOOK, 0.002 * len(self._busy)))

    async def close(self) -> None:
        """End everything."""
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.wait([self._watch], timeout=_CLOSES_WITHIN)
        for environment in self.environments:
            await environment.end()
        if self._ending:
            await asyncio.wait(self._ending, timeout=_CLOSES_WITHIN)
