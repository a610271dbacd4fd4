"""Writes what Lambda reports of an invocation: log lines, the bill, error bodies. Pure functions."""

from __future__ import annotations

import base64
import json
import math
from dataclasses import dataclass
from typing import Final, Literal

Status = Literal["success", "error", "timeout"]

_TAIL: Final = 4096


@dataclass(frozen=True, kw_only=True)
class InvocationResult:
    """The end of an invocation, as its caller sees it."""

    payload: bytes
    failed: bool = False
    """Whether the answer says X-Amz-Function-Error."""
    status: Status = "success"
    error_type: str | None = None


@dataclass(frozen=True, kw_only=True)
class ReportLine:
    """One REPORT line: what an invocation took, and what it is billed for."""

    request_id: str
    function: str
    version: str
    duration_ms: float
    init_ms: float | None
    """Time of the initialisation, where this invocation was the first of its environment."""
    memory_mb: int
    used_mb: int
    status: Status
    error_type: str | None = None
    architecture: str = "x86_64"

    @property
    def billed_ms(self) -> int:
        """The billed time, rounded up; it includes the initialisation since August 2025."""
        return math.ceil(self.duration_ms + (self.init_ms or 0.0))

    @property
    def gb_seconds(self) -> float:
        return self.billed_ms / 1000 * self.memory_mb / 1024

    def __str__(self) -> str:
        parts = [
            f"REPORT RequestId: {self.request_id}",
            f"Duration: {self.duration_ms:.2f} ms",
            f"Billed Duration: {self.billed_ms} ms",
            f"Memory Size: {self.memory_mb} MB",
            f"Max Memory Used: {self.used_mb} MB",
        ]
        if self.init_ms is not None:
            parts.append(f"Init Duration: {self.init_ms:.2f} ms")
        if self.status != "success":
            parts.append(f"Status: {self.status}")
        if self.status == "error":
            parts.append(f"Error Type: {self.error_type}")
        return "\t".join(parts) + "\t\n"


@dataclass(frozen=True, kw_only=True)
class DroppedEvent:
    """An event that was given up."""

    request_id: str
    function: str
    deliveries: int
    reason: str
    """`RetriesExhausted` or `EventAgeExceeded`, as Lambda calls them."""


def log_of(report: ReportLine, printed_before: str, printed: str) -> str:
    """Return the log of one invocation: what was printed, between the platform's own lines."""
    start = f"START RequestId: {report.request_id} Version: {report.version}\n"
    end = f"END RequestId: {report.request_id}\n"
    last = ""
    if report.status == "timeout":
        seconds = report.duration_ms / 1000
        last = f"RequestId: {report.request_id} Error: Task timed out after {seconds:.2f} seconds\n"
    if printed and not printed.endswith("\n"):
        printed += "\n"
    return f"{printed_before}{start}{printed}{last}{end}{report}"


def tail(log: str) -> str:
    """Return the last 4 KB of a log as the header X-Amz-Log-Result has them."""
    return base64.b64encode(log.encode()[-_TAIL:]).decode()


def error_body(error_type: str, message: str) -> bytes:
    """Return the platform's own error as the body of an answer."""
    return json.dumps({"errorType": error_type, "errorMessage": message}).encode()


def timed_out(request_id: str, seconds: float) -> InvocationResult:
    """Return the outcome of a handler that ran longer than the function's time-out."""
    message = f"RequestId: {request_id} Error: Task timed out after {seconds:.2f} seconds"
    body = error_body("Sandbox.Timedout", message)
    return InvocationResult(
        payload=body, failed=True, status="timeout", error_type="Sandbox.Timedout"
    )


def exited(request_id: str, wait_status: int, *, out_of_memory: bool) -> InvocationResult:
    """Return the outcome of a handler whose process ended under it."""
    how = _how_it_exited(wait_status)
    message = f"RequestId: {request_id} Error: Runtime exited {how}"
    return InvocationResult(
        payload=error_body("Runtime.ExitError", message),
        failed=True,
        status="error",
        error_type="Runtime.OutOfMemory" if out_of_memory else "Runtime.ExitError",
    )


def too_large(nbytes: int, limit: int) -> InvocationResult:
    """Return the outcome of a handler whose answer does not fit."""
    kind = "Function.ResponseSizeTooLarge"
    message = (
        f"Response payload size ({nbytes} bytes) exceeded maximum allowed payload size "
        f"({limit} bytes)."
    )
    return InvocationResult(
        payload=error_body(kind, message), failed=True, status="error", error_type=kind
    )


def raised(body: bytes, error_type: str | None) -> InvocationResult:
    """Return the outcome of a handler, or of an initialisation, that reported an error itself."""
    return InvocationResult(
        payload=body, failed=True, status="error", error_type=error_type or "Function.Unhandled"
    )


#: As Go's os.ProcessState says it, which is what Lambda quotes.
_SIGNALS: Final = {
    2: "interrupt",
    4: "illegal instruction",
    6: "aborted",
    7: "bus error",
    8: "floating point exception",
    9: "killed",
    11: "segmentation fault",
    13: "broken pipe",
    15: "terminated",
}


def _how_it_exited(wait_status: int) -> str:
    number = wait_status & 0x7F
    if number:
        return f"with error: signal: {_SIGNALS.get(number, f'signal {number}')}"
    code = wait_status >> 8
    return f"with error: exit status {code}" if code else "without providing a reason"
