"""What a call's answer means for the dispatcher. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cloudbutton_backend.backends.local.process import explain_death
from cloudbutton_backend.backends.protocol import (
    BatchEnded,
    Call,
    Event,
    Overdue,
    Results,
    WorkerDown,
)
from cloudbutton_backend.worker.frames import Buffer
from cloudbutton_backend.worker.lambda_records import open_records
from cloudbutton_backend.worker.segments import TornRecord

_MiB = 1 << 20


def read_answer(call: Call, data: Buffer, key: bytes) -> tuple[list[Results], dict[str, Any]]:
    """Return the results in an answer, and how the call ended.

    Raises
    ------
    BrokenSeal, TornRecord
        The answer is not the one that this call's worker made.
    """
    last = call.first + call.count - 1
    name = f"the answer for items {call.first} to {last}"
    results: list[Results] = []
    ending: dict[str, Any] | None = None
    for record, payload in open_records(data, key, name):
        if record.batch != call.batch:
            raise TornRecord(f"{name}: it belongs to another call")
        if "end" in record.meta:
            ending = {**record.meta["end"], "seconds": record.meta["seconds"]}
            continue
        results.append(
            Results(
                call.worker,
                record.batch,
                record.first,
                record.count,
                record.meta,
                bytes(payload),
                None,
                0,
                record.length,
            )
        )
    if ending is None:
        raise TornRecord(f"{name}: it does not say how the call ended")
    return results, ending


def events_of_end(call: Call, ending: Mapping[str, Any], memory: int | None) -> list[Event]:
    """Return how a batch ended, from what its worker says of it.

    Parameters
    ----------
    memory
        MiB that an item may use.
    """
    worker, batch = call.worker, call.batch
    if ending["culprits"]:
        culprit = ending["culprits"][0]
        item, reason = culprit["item"], culprit["reason"]
        cause = explain_death(culprit["code"], culprit["peak"], culprit["words"])
        if reason == "memory":
            peak = culprit["peak"] / _MiB
            cause = (
                f"it used more memory than its limit of {memory} MiB: its peak was {peak:,.0f} MiB"
            )
        down = WorkerDown(worker, cause, batch, item, reason)
        if reason == "timeout" and item is not None:
            return [Overdue(worker, batch, item), down]
        return [down]
    if ending["too_long"]:
        cause = f"it ran for all of the {call.lease:g} s that the call was allowed"
        return [WorkerDown(worker, cause, batch, ending["too_long"][0], "lease")]
    expired = ending["why"] == "lease" and ending["ran"] < call.count
    return [BatchEnded(worker, batch, ending["ran"], ending["unreadable"], expired)]
