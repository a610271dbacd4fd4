"""Turns a call's answer into events for the dispatcher. Pure."""

from __future__ import annotations

import pickle
import time
from typing import Any, Final

from cloudbutton_backend.backends.protocol import (
    BatchCall,
    BatchEnded,
    Event,
    Overdue,
    Results,
    Revoked,
    WorkerDown,
)
from cloudbutton_backend.errors import WorkerLost
from cloudbutton_backend.worker import failures
from cloudbutton_backend.worker.batch_meta import BatchMeta
from cloudbutton_backend.worker.call_end import CallReport
from cloudbutton_backend.worker.result_file import TornRecord
from cloudbutton_backend.worker.sealed_records import open_records
from cloudbutton_backend.worker.wire import Buffer, layout

_MiB: Final = 1 << 20
_NOTHING: Final = pickle.dumps([None], 5)


def read_answer(call: BatchCall, data: Buffer, key: bytes) -> tuple[list[Results], CallReport]:
    """Return the results in an answer, and how the call ended.

    Raises
    ------
    BrokenSeal, TornRecord
        The answer is not the one that this call's worker made.
    """
    last = call.first + call.count - 1
    name = f"the answer for items {call.first} to {last}"
    results: list[Results] = []
    report: CallReport | None = None
    for record, payload in open_records(data, key, name):
        if record.batch != call.batch:
            raise TornRecord(f"{name}: it belongs to another call")
        if isinstance(record, CallReport):
            report = record
            continue
        results.append(Results.of_record(call.worker, record, payload))
    if report is None:
        raise TornRecord(f"{name}: it does not say how the call ended")
    return results, report


def is_whole(call: BatchCall, report: CallReport) -> bool:
    """Whether all of a call's items have run, and nothing went wrong but what they raised."""
    events = events_of_end(call, report)
    return events == [BatchEnded(call.worker, call.batch, call.count)]


def events_of_end(call: BatchCall, report: CallReport) -> list[Event]:
    """Return how a batch ended, from what its worker says of it."""
    worker, batch, end = call.worker, call.batch, report.end
    if end.culprits:
        culprit = end.culprits[0]
        item, reason, death = culprit.item, culprit.reason, culprit.death
        cause = death.explain()
        if reason == "memory":
            cause = (
                f"it used more memory than there is for it, {report.memory:,} MiB: its peak was "
                f"{death.peak / _MiB:,.0f} MiB"
            )
        down = WorkerDown(worker, cause, batch, item, reason)
        if reason == "timeout" and item is not None:
            return [Overdue(worker, batch, item), down]
        return [down]
    if end.too_long:
        cause = f"it ran for all of the {call.lease:g} s that the call was allowed"
        return [WorkerDown(worker, cause, batch, end.too_long[0], "lease")]
    expired = end.why == "lease" and end.ran < call.count
    return [BatchEnded(worker, batch, end.ran, end.unreadable, expired)]


def returned(call: BatchCall) -> list[Event]:
    """Return the events of a call that is to be sent again, at no attempt's cost."""
    return [
        Revoked(call.worker, call.batch, call.first, call.first + call.count),
        BatchEnded(call.worker, call.batch, 0),
    ]


def killed(call: BatchCall, error: Any, proven: bool) -> list[Event]:
    """Return the events of a call whose Dask workers died, as often as the scheduler allows.

    Parameters
    ----------
    error
        A `KilledWorker`.
    proven
        Whether it was this call's doing: Dask also counts the deaths of workers where it only waited.
    """
    attempts = getattr(error, "allowed_failures", 0) + 1
    last = getattr(getattr(error, "last_worker", None), "address", "")
    cause = f"{attempts} Dask workers died while they ran it" + (
        f", the last one at {last}" if last else ""
    )
    cause += "; their logs may tell why (memory, often)"
    if call.count > 1 or not proven:  # tried again in smaller parts, and the parts one by one
        item = call.first if call.count == 1 else None
        return [WorkerDown(call.worker, cause, call.batch, item)]
    # Dask has tried often enough: each attempt costs others a worker.
    packed = failures.describe(WorkerLost(f"item {call.first}", cause, attempts), None, __file__)
    packed["item"] = f"item {call.first}"
    meta = BatchMeta(started=time.time(), errors={0: packed})
    pieces, length = layout([_NOTHING])
    payload = b"".join(pieces)
    return [
        Results(call.worker, call.batch, call.first, 1, meta, payload, None, 0, length),
        BatchEnded(call.worker, call.batch, 1),
    ]
