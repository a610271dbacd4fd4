"""The function: takes a call, has its items run, and answers with sealed records.

It is deployed once and for all jobs: code and data come with each call. Its own process runs nothing
of the user's and talks only to the platform and, by presigned URLs, to storage::

    event ──▶ handler ──▶ ChildProcesses ─fork─▶ child ⇄ items, results over a socket pair   one a vCPU
                 │          └─▶ BlobCache: blobs that were fetched, kept for the next call
                 └──▶ answer: records, or the word that they are in storage
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import platform
import time
from base64 import b64encode
from contextlib import suppress
from typing import Any, Final

from cloudbutton_backend.worker.aws_lambda.call_wire import (
    ASK_EVERY,
    INLINE_ANSWER,
    START_ALLOWANCE,
    WIRE,
    CallSpec,
    code_digest,
    read_call,
)
from cloudbutton_backend.worker.aws_lambda.processes import ChildProcesses
from cloudbutton_backend.worker.aws_lambda.storage import (
    DeadlineExceeded,
    DigestMismatch,
    StorageError,
    fetch,
    read_small,
    requests_made,
    upload,
)
from cloudbutton_backend.worker.call_end import CallEnd, CallReport
from cloudbutton_backend.worker.call_runner import CallRunner
from cloudbutton_backend.worker.sealed_records import sealed_report

_LEAST_RESERVE: Final = 0.05
_RESERVE_SHARE: Final = 0.1
_MOST_RESERVE: Final = 1.0
"""Seconds kept of a call's time for its answer: a share of it, within these bounds."""

_processes: ChildProcesses | None = None


def _age() -> float:
    """Return how many seconds ago this process began."""
    try:
        with open("/proc/self/stat") as file:
            begun = int(file.read().rpartition(")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return 0.0
    return time.clock_gettime(time.CLOCK_BOOTTIME) - begun / os.sysconf("SC_CLK_TCK")


_start = _age()
"""Seconds that this environment took to start, until the first call has told them."""


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Answer one call; what the platform's runtime calls."""
    global _start
    began, before = time.monotonic(), requests_made["GET"]
    if "ping" in event or event.get("wire") != WIRE:
        return about(context)
    remaining = context.get_remaining_time_in_millis() / 1000
    call = read_call(event)
    leased = call.lease is not None and call.lease < remaining
    late = max(0.0, _start - START_ALLOWANCE)
    allowed = call.lease - late if leased and call.lease is not None else remaining
    reserve = min(_MOST_RESERVE, _LEAST_RESERVE + _RESERVE_SHARE * allowed)
    records, ending = _run(call, began + allowed - reserve, "lease" if leased else "limit")
    report = CallReport(
        call.batch,
        ending,
        seconds=_start + time.monotonic() - began,
        gets=requests_made["GET"] - before,
        request=getattr(context, "aws_request_id", ""),
    )
    _start = 0.0
    records += sealed_report(report, call.first, call.key)
    return _answer(call, records)


def about(context: Any) -> dict[str, Any]:
    """Return what this function is, so that the caller sees whether it fits."""
    return {
        "wire": WIRE,
        "code": code_digest(),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "memory": int(context.memory_limit_in_mb),
        "remaining": context.get_remaining_time_in_millis() / 1000,
    }


def _run(call: CallSpec, until: float, why: str) -> tuple[list[Any], CallEnd]:
    global _processes
    if _processes is None:
        _processes = ChildProcesses(int(os.environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128")))
    if call.detached and _is_cancelled(call):  # it may have waited for hours
        return [], CallEnd(why="cancelled")
    try:
        _processes.prepare(call, until)
        items = fetch(call.items, until)
    except DeadlineExceeded as error:
        return [], CallEnd(why=why, message=str(error))
    except StorageError as error:
        kind = "changed" if isinstance(error, DigestMismatch) else "storage"
        return [], CallEnd(why=kind, message=str(error))
    runner = CallRunner(_processes, call, until, why, lambda: _is_cancelled(call), ASK_EVERY)
    records = runner.run(items)
    return records, runner.ending


def _is_cancelled(call: CallSpec) -> bool:
    """Whether storage says that this call must stop."""
    data = read_small(call.stop, timeout=1.0)
    if data is None:
        return False
    seal, _, text = data.partition(b"\n")
    wanted = hmac.new(call.key, text, hashlib.sha256).hexdigest().encode()
    if not hmac.compare_digest(seal, wanted):
        return False
    with suppress(ValueError):
        return call.batch in json.loads(text)["batches"]
    return False


def _answer(call: CallSpec, records: list[Any]) -> dict[str, Any]:
    """Return the answer: with the records, or having put them into storage."""
    length = sum(len(piece) for piece in records)
    if call.detached or length > INLINE_ANSWER:
        upload(call.answer, records, length, once=call.detached)
        return {"wire": WIRE, "stored": length}
    return {"wire": WIRE, "records": b64encode(b"".join(records)).decode("ascii")}
