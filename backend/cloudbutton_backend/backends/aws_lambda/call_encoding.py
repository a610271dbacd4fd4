"""Encode calls and decode answers: the client's side of `worker.aws_lambda.call_wire`. Pure."""

from __future__ import annotations

import functools
import hashlib
import hmac
import json
import re
import sys
from base64 import b64decode, b64encode
from collections.abc import Collection, Mapping
from typing import Any, Final

from cloudbutton_backend.backends.protocol import (
    BatchCall,
    BatchEnded,
    Event,
    JobSpec,
    Overdue,
    Results,
    WorkerDown,
)
from cloudbutton_backend.capture import third_party
from cloudbutton_backend.worker.aws_lambda.call_wire import WIRE
from cloudbutton_backend.worker.call_end import CallEnd, CallReport
from cloudbutton_backend.worker.sealed_records import open_records
from cloudbutton_backend.worker.wire import Buffer

INLINE_CALL: Final = 1 << 20
"""Bytes of items that a call carries itself; see `call_wire.INLINE_ANSWER`."""
INLINE_EVENT: Final = 512 << 10
"""The same for an asynchronous call, whose JSON may be 1 MB."""
INLINE_FUNCTION: Final = 32 << 10
"""A function's pickle above this goes through storage, once for each environment."""
_SHIPPED: Final = ("TZ",)
"""Environment variables that change what code computes, and give nothing away."""


def job_key(user_key: bytes, job_id: str) -> bytes:
    """Return the key with which a job's results are sealed; it does not reveal the user's key."""
    return hmac.digest(user_key, b"cloudbutton job " + job_id.encode(), "sha256")


def job_json(
    spec: JobSpec,
    key: bytes,
    function: Mapping[str, Any],
    blobs: Mapping[str, Mapping[str, Any]],
    stop: str,
    variables: Collection[str],
    packages: Mapping[str, Any] | None = None,
) -> str:
    """Return what all calls of a job have in common."""
    environment = spec.environment
    return json.dumps(
        {
            "id": spec.id,
            "key": b64encode(key).decode(),
            "seed": spec.seed,
            "guard": spec.guard,
            "timeout": spec.timeout,
            "stop_on_error": spec.stop_on_error,
            "displays": spec.displays,
            "variables": {
                name: environment[name] for name in (*_SHIPPED, *variables) if environment.get(name)
            },
            "function": function,
            "blobs": blobs,
            "stop": stop,
            "packages": packages,
        }
    )


def call_json(
    job: str, call: BatchCall, items: Mapping[str, Any], answer: str, *, detached: bool
) -> bytes:
    """Return a call. The job's part is text already: it is the same a thousand times."""
    rest = json.dumps(
        {
            "wire": WIRE,
            "batch": call.batch,
            "first": call.first,
            "count": call.count,
            "lease": call.lease,
            "items": items,
            "answer": answer,
            "detached": detached,
        }
    )
    return f'{rest[:-1]}, "job": {job}}}'.encode()


def stop_text(key: bytes, batches: Collection[int]) -> bytes:
    """Return the object that tells calls to stop."""
    text = json.dumps({"batches": sorted(batches)}).encode()
    return hmac.new(key, text, hashlib.sha256).hexdigest().encode() + b"\n" + text


def records_in(answer: Mapping[str, Any]) -> bytes:
    """Return the sealed records that an answer carries."""
    return b64decode(answer["records"])


def read_records(
    data: Buffer, key: bytes, name: str, worker: str
) -> tuple[list[Results], CallReport | None]:
    """Return the results in sealed records, and how the call ended; None if that is missing.

    Raises
    ------
    BrokenSeal, TornRecord
        The records are not those that the function made.
    """
    results: list[Results] = []
    report: CallReport | None = None
    for record, payload in open_records(data, key, name):
        if isinstance(record, CallReport):
            report = record
            continue
        results.append(Results.of_record(worker, record, payload))
    return results, report


def events_of_end(call: BatchCall, end: CallEnd, memory: int, longest: float) -> list[Event]:
    """Return how a batch ended, from what the function says of it.

    Parameters
    ----------
    memory
        MiB that the function has.
    longest
        Seconds after which the platform ends a call.
    """
    worker, why, ran = call.worker, end.why, end.ran
    if end.culprits:
        culprit = end.culprits[0]
        item, reason, death = culprit.item, culprit.reason, culprit.death
        cause = death.explain()
        if reason == "memory":
            cause = memory_cause(memory, death.peak / (1 << 20))
        down = WorkerDown(worker, cause, call.batch, item, reason)
        if reason == "timeout" and item is not None:
            return [Overdue(worker, call.batch, item), down]
        return [down]
    if end.too_long:
        item = end.too_long[0]
        if why == "lease":
            return [
                WorkerDown(
                    worker,
                    f"it ran for all of the {call.lease:g} s that the call was allowed",
                    call.batch,
                    item,
                    "lease",
                )
            ]
        cause = (
            f"it did not end within the {longest:g} s that Lambda gives a call; make items smaller, "
            f"or run it on another backend"
        )
        return [WorkerDown(worker, cause, call.batch, item, "died")]
    expired = why in ("lease", "limit") and ran < call.count
    return [BatchEnded(worker, call.batch, ran, end.unreadable, expired)]


def memory_cause(limit: int, peak: float) -> str:
    """Return the message for an item that ran out of memory."""
    more = min(10_240, 2 * limit)
    return (
        f"it used more memory than the function has: its peak was {peak:,.0f} MiB of {limit:,} MiB. "
        f"Give it more: `memory={more}` (in a cell `--memory {more}`)"
    )


#: Short texts: names of modules are among them, those of classes and those that code imports.
_TEXT: Final = re.compile(rb"\x8c[\x01-\x7f]([A-Za-z_][A-Za-z0-9_]*)")
_MOST: Final = 256 << 10
"""Bytes that are looked at: what comes after is more of the same."""


def imports_in(stream: Any) -> frozenset[str]:
    """Return the import names of installed packages that a pickle mentions."""
    found = {name.decode("ascii") for name in _TEXT.findall(memoryview(stream)[:_MOST])}
    return frozenset(name for name in found if name in sys.modules and _is_installed(name))


@functools.lru_cache(maxsize=4096)
def _is_installed(name: str) -> bool:
    """Whether an imported module belongs to a package that functions do not have anyway."""
    return bool(third_party([name]))
