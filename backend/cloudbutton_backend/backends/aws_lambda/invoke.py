"""One invocation of a function: repeated while it is refused, and told apart by how it ended."""

from __future__ import annotations

import asyncio
import json
import random
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from cloudbutton_backend.backends.aws_lambda.aws_errors import RequestContext, from_code
from cloudbutton_backend.backends.aws_lambda.http import (
    HttpReply,
    NoAnswer,
    NotSent,
    SignedHttpClient,
)
from cloudbutton_backend.backends.aws_lambda.invocation_outcome import (
    BilledUsage,
    InvocationFailure,
    failure_of,
    read_report,
    read_tail,
)
from cloudbutton_backend.backends.aws_lambda.rate_limit import AimdLimiter, OutageTimer, delay
from cloudbutton_backend.errors import BackendError

_SLACK: Final = 30.0
"""Seconds beyond the longest that a call may take in which its answer must come."""
_SECONDS_PER_MB: Final = 1.0
"""What a slow connection takes, which all calls under way share."""
_AT_WORK: Final = 10.0
"""A request that has been out for so long was not refused: something runs."""
_BUSY: Final = frozenset({"ResourceConflictException", "ResourceNotReadyException"})
"""The function is being made or changed; it passes."""

_REASONS: Final = {
    "ReservedFunctionConcurrentInvocationLimitExceeded": (
        "the function's reserved concurrency is 0 or used up by others. Look in the console under "
        "Lambda, {function}, Configuration, Concurrency"
    ),
    "ConcurrentInvocationLimitExceeded": (
        "all concurrent executions that your account has in this region are in use by others. Wait, or ask "
        "for more under Service Quotas, AWS Lambda, Concurrent executions"
    ),
    "FunctionInvocationRateLimitExceeded": "the function is called too often",
    "CallerRateLimitExceeded": "you make more requests than AWS takes",
}


@dataclass(frozen=True, slots=True)
class InvocationAnswer:
    """An invocation that was answered by our handler, or accepted to be run later."""

    body: Any
    report: BilledUsage | None


@dataclass(frozen=True, slots=True)
class LostAnswer:
    """An invocation of which nothing is known: its connection ended after it was sent."""

    cause: str


Ended = InvocationAnswer | InvocationFailure | LostAnswer


class NoInvocationSucceeds(BackendError):
    """Every invocation has been refused for too long."""


class Invoker:
    """Invokes functions, no more at a time than AWS takes.

    Parameters
    ----------
    patience
        Seconds for which everything may be refused.
    clock
        Seconds that only go forward.
    """

    def __init__(
        self,
        web: SignedHttpClient,
        region: str,
        most: int,
        patience: float,
        clock: Callable[[], float],
    ) -> None:
        self.limiter = AimdLimiter(most)
        self.refusals = 0
        self._web, self._region, self._clock = web, region, clock
        self._outage = OutageTimer(patience)
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._out: OrderedDict[object, float] = OrderedDict()
        self._chance = random.Random()

    async def invoke(
        self,
        function: str,
        body: bytes,
        within: float,
        on_sent: Callable[[bool], None],
        *,
        asynchronous: bool = False,
    ) -> Ended:
        """Invoke `function` once; return how that ended.

        Parameters
        ----------
        within
            Seconds that it may take at most, once it runs.
        on_sent
            Told True when something may be running from now on, False when it surely is not.

        Raises
        ------
        CloudServiceError
            AWS refuses it, and would again.
        NothingGoes
            AWS refuses everything.
        """
        attempt = 0
        while True:
            await self._acquire()
            ticket = object()
            reply: HttpReply | None
            self._out[ticket] = self._clock()
            on_sent(True)
            try:
                reply = await self._send(function, body, within, asynchronous)
            except NotSent as error:
                reply, trouble = None, f"no connection to {error}"
            except NoAnswer as error:
                self._note_refusal(function, f"connections break ({error})", ticket)
                return LostAnswer(str(error))
            finally:
                self._release(ticket)
            if reply is not None and reply.status < 300:
                self._outage.succeeded()
                self.limiter.answered()
                return _outcome_of(reply, asynchronous)
            on_sent(False)
            if reply is not None:
                trouble = self._refusal(function, reply)
            self.refusals += 1
            self._note_refusal(function, trouble)
            await asyncio.sleep(delay(attempt, self._chance))
            attempt += 1

    async def _send(
        self, function: str, body: bytes, within: float, asynchronous: bool
    ) -> HttpReply:
        kind = "Event" if asynchronous else "RequestResponse"
        headers = {"x-amz-invocation-type": kind, "content-type": "application/json"}
        if not asynchronous:
            headers["x-amz-log-type"] = "Tail"
        return await self._web.send(
            "lambda",
            "POST",
            f"2015-03-31/functions/{function}/invocations",
            headers=headers,
            body=body,
            timeout=answer_timeout(within, len(body), self.limiter.under_way),
        )

    def _refusal(self, function: str, reply: HttpReply) -> str:
        """Return why a request was refused, if repeating it may help; else raise it."""
        code = reply.headers.get("x-amzn-ErrorType", "").partition(":")[0]
        try:
            said = json.loads(reply.body)
        except ValueError:
            said = {}
        message = str(said.get("message") or said.get("Message") or "")
        if reply.status == 429:
            self.limiter.refused(self._clock())
            reason = str(said.get("Reason", ""))
            return _REASONS.get(reason, message or reason).format(function=function)
        if reply.status >= 500 or code in _BUSY:
            return f"Lambda answers {code or reply.status}: {message}"
        asked = RequestContext(
            service="lambda",
            operation="Invoke",
            region=self._region,
            resource=f"function {function}",
        )
        raise from_code(code or str(reply.status), message, asked)

    def _note_refusal(self, function: str, trouble: str, own: object = None) -> None:
        """Record that a request was refused; give up if all have been for a long time."""
        now = self._clock()
        oldest = next((at for ticket, at in self._out.items() if ticket is not own), now)
        if now - oldest > _AT_WORK:
            self._outage.succeeded()
            return
        if self._outage.failed(now, trouble):
            self._outage.succeeded()  # a later job starts afresh
            raise NoInvocationSucceeds(
                f"No call of {function} got through for {self._outage.patience:g} s: {trouble}."
            )

    # -- the limit

    async def _acquire(self) -> None:
        """Wait for permission to send, first come first served."""
        if not self.limiter.is_open or self._waiting:
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            try:
                # ends: calls under way have time-outs, and each that ends admits the next
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self.limiter.under_way -= 1
                    self._admit_waiting()
                raise
            return
        self.limiter.under_way += 1

    def _release(self, ticket: object) -> None:
        self._out.pop(ticket, None)
        self.limiter.under_way -= 1
        self._admit_waiting()

    def _admit_waiting(self) -> None:
        while self._waiting and self.limiter.is_open:
            turn = self._waiting.popleft()
            if not turn.done():
                self.limiter.under_way += 1
                turn.set_result(None)


def answer_timeout(within: float, nbytes: int, under_way: int) -> float:
    """Return the seconds within which an answer must come.

    Parameters
    ----------
    within
        Seconds that the call may run.
    nbytes
        That have to be sent first.
    under_way
        Calls that use this machine's connection at the same time.
    """
    return within + _SLACK + max(1, under_way) * _SECONDS_PER_MB * nbytes / 1e6


def _outcome_of(reply: HttpReply, asynchronous: bool) -> Ended:
    if asynchronous:
        return InvocationAnswer(None, None)
    log = read_tail(reply.headers.get("x-amz-log-result"))
    if "x-amz-function-error" in reply.headers:
        return failure_of(reply.body, log)
    return InvocationAnswer(json.loads(reply.body), read_report(log))
