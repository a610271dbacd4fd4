"""Turns the answer of a call into events and a price."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from cloudbutton_backend.backends.aws_lambda import call_encoding
from cloudbutton_backend.backends.aws_lambda.bucket import Bucket
from cloudbutton_backend.backends.aws_lambda.invocation_outcome import InvocationFailure, explain
from cloudbutton_backend.backends.aws_lambda.invoke import Ended, InvocationAnswer
from cloudbutton_backend.backends.aws_lambda.remote_job import RemoteJob, bare_rate, rate_of
from cloudbutton_backend.backends.aws_lambda.resource_names import DeploymentTarget
from cloudbutton_backend.backends.protocol import (
    BackendDown,
    BatchCall,
    BatchEnded,
    Charged,
    Event,
    Results,
    Revoked,
    WorkerDown,
    WorkerUp,
)
from cloudbutton_backend.cost import storage_prices
from cloudbutton_backend.errors import BackendError
from cloudbutton_backend.worker.result_file import TornRecord
from cloudbutton_backend.worker.sealed_records import BrokenSeal

LONGEST_CALL: Final = 900.0
"""Seconds after which Lambda ends a call."""
_LOST_IN_SILENCE: Final = 3
"""Calls with the same first item that may be lost without a trace before the item is suspected."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """A call as it was made."""

    call: BatchCall
    """With the lease that the function was given."""
    job: RemoteJob
    target: DeploymentTarget
    """The function that was called."""
    puts: int = 0
    """Objects that were put for it."""

    @property
    def worker(self) -> str:
        return self.call.worker


class CallAccountant:
    """Turns ends of calls into events.

    Parameters
    ----------
    larger
        Returns the next larger memory with which a function is deployed, None if there is none.
    """

    def __init__(
        self, bucket: Bucket, larger: Callable[[DeploymentTarget], Awaitable[int | None]]
    ) -> None:
        self._bucket = bucket
        self._larger = larger

    async def events_of(self, attempt: Attempt, ended: Ended) -> list[Event]:
        """Return the events of a call that is over.

        Raises
        ------
        BrokenSeal, TornRecord
            The results are not those that the function made.
        BackendError
            The function is not ours.
        """
        if isinstance(ended, InvocationAnswer):
            return await self._answered(attempt, ended)
        if isinstance(ended, InvocationFailure):
            return await self._failed(attempt, ended)
        return [at_most(attempt.call, attempt.job), *_back(attempt, ended.cause)]

    async def _answered(self, attempt: Attempt, answer: InvocationAnswer) -> list[Event]:
        body = answer.body if isinstance(answer.body, dict) else {}
        billed = answer.report.billed if answer.report is not None else None
        call, function = attempt.call, attempt.target.function
        if "records" in body:
            last = call.first + call.count - 1
            name = f"the answer of {function} for items {call.first} to {last}"
            return await self._read(
                attempt, call_encoding.records_in(body), name, billed, fetched=0
            )
        if "stored" in body:
            key = attempt.job.answer_key(call.batch)
            data = await self._bucket.get(key, int(body["stored"]))
            return await self.stored(attempt, data, billed)
        raise BackendError(
            f"function {function} answers like one of another version of Cloud Button; deploy it again with "
            f"`cloudbutton deploy lambda`"
        )

    async def stored(self, attempt: Attempt, data: bytes, billed: float | None) -> list[Event]:
        """Return the events of a call whose results lay in storage."""
        name = f"s3://{self._bucket.name}/{attempt.job.answer_key(attempt.call.batch)}"
        return await self._read(attempt, data, name, billed, fetched=1)

    async def _read(
        self, attempt: Attempt, data: bytes, name: str, billed: float | None, fetched: int
    ) -> list[Event]:
        call, job = attempt.call, attempt.job
        results, report = call_encoding.read_records(data, job.key, name, attempt.worker)
        if report is None:
            raise TornRecord(f"{name}: it does not say how the call ended")
        if report.batch != call.batch or any(each.batch != call.batch for each in results):
            raise BrokenSeal(name)  # genuine, but of another call
        end = report.end
        if end.why == "changed":
            raise BackendError(f"{end.message}. Nothing of it was used")
        seconds = report.seconds if billed is None else billed
        storage = storage_prices(attempt.target.region)
        cost = bare_rate(attempt.target, job.storage).cost(seconds) + storage.cost(
            puts=attempt.puts + fetched, gets=report.gets + fetched
        )
        charge = Charged(call.job_id, call.batch, cost, seconds)
        if end.why == "storage":
            return [charge, *_back(attempt, end.message)]
        job.lost.pop(call.first, None)
        ends = call_encoding.events_of_end(call, end, attempt.target.memory, LONGEST_CALL)
        return _in_order(attempt.worker, results, charge, await self._more_memory(attempt, ends))

    async def _failed(self, attempt: Attempt, failure: InvocationFailure) -> list[Event]:
        """Return the events of a call that the platform ended."""
        call = attempt.call
        charge = at_most(call, attempt.job)
        if failure.report is not None:
            billed = failure.report.billed
            # It is unknown how often it asked storage: the most that it can have asked is counted.
            cost = rate_of(attempt.target, attempt.job.storage).cost(billed)
            charge = Charged(call.job_id, call.batch, cost, billed)
        if failure.fault == "start":
            end = BatchEnded(attempt.worker, call.batch, 0)
            return [charge, end, BackendDown(explain(failure))]
        reason = "memory" if failure.fault == "memory" else "died"
        item = call.first if call.count == 1 else None
        down = WorkerDown(attempt.worker, explain(failure), call.batch, item, reason)
        return _in_order(attempt.worker, [], charge, await self._more_memory(attempt, [down]))

    async def _more_memory(self, attempt: Attempt, ends: list[Event]) -> list[Event]:
        """Retry an item that ran out of memory with more, if there is a larger function."""
        for at, end in enumerate(ends):
            if not isinstance(end, WorkerDown) or end.reason != "memory":
                continue
            larger = await self._larger(attempt.target)
            if larger is None:
                continue
            call = attempt.call
            items = range(call.first, call.first + call.count) if end.item is None else [end.item]
            attempt.job.needs.update(dict.fromkeys(items, larger))
            ends[at] = replace(end, cause=f"{end.cause}; tried again with {larger:,} MiB")
        return ends


def at_most(call: BatchCall, job: RemoteJob) -> Charged:
    """Return the price of a call whose bill will not be known."""
    lease = call.lease or LONGEST_CALL
    rate = rate_of(job.target.with_(memory=job.memory_for(call)), job.storage)
    return Charged(call.job_id, call.batch, rate.at_most(lease), lease)


def lease_for(call: BatchCall, job: RemoteJob) -> float | None:
    """Return how long a call may run so that it costs no more than what was set aside for it.

    What was set aside is for the backend's usual function; one with more memory or disk costs more.
    Without a budget that does not matter: a call has all the time that it was given.
    """
    usual = rate_of(job.usual)
    rate = rate_of(job.target.with_(memory=job.memory_for(call)), job.storage)
    if call.lease is None or not job.is_limited or rate.per_second <= usual.per_second:
        return call.lease
    return min(call.lease, rate.lease_for(usual.at_most(call.lease)))


def _back(attempt: Attempt, cause: str) -> list[Event]:
    """Send a batch again without counting an attempt, unless its first item keeps losing its calls."""
    call, job, worker = attempt.call, attempt.job, attempt.worker
    job.lost[call.first] = job.lost.get(call.first, 0) + 1
    if job.lost[call.first] >= _LOST_IN_SILENCE:
        text = f"its answer was lost again and again ({cause})"
        return [WorkerDown(worker, text, call.batch, call.first), WorkerUp(worker)]
    return [
        Revoked(worker, call.batch, call.first, call.first + call.count),
        BatchEnded(worker, call.batch, 0),
    ]


def _in_order(
    worker: str, results: Sequence[Results], charge: Charged, ends: Sequence[Event]
) -> list[Event]:
    """Return a call's events: its price before its last results, a worker up again where it was down."""
    again = [WorkerUp(worker)] if any(isinstance(end, WorkerDown) for end in ends) else []
    return [*results[:-1], charge, *results[-1:], *ends, *again]
