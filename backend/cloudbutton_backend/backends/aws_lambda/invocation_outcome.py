"""Determines the outcome of an invocation from what the platform reports. Pure."""

from __future__ import annotations

import json
import re
from base64 import b64decode
from dataclasses import dataclass
from typing import Any, Final, Literal

Fault = Literal["timeout", "memory", "crash", "size", "start", "code"]

_FIELDS: Final = {
    "seconds": re.compile(r"\tDuration: ([\d.]+) ms"),
    "billed": re.compile(r"Billed Duration: ([\d.]+) ms"),
    "start": re.compile(r"(?:Init|Restore) Duration: ([\d.]+) ms"),
    "memory": re.compile(r"Memory Size: (\d+) MB"),
    "peak": re.compile(r"Max Memory Used: (\d+) MB"),
}
_REPORT: Final = re.compile(r"^REPORT RequestId: .*$", re.M)
_STARTING: Final = (
    "Runtime.ImportModuleError",
    "Runtime.HandlerNotFound",
    "Runtime.UserCodeSyntaxError",
    "Runtime.MalformedHandlerName",
    "Runtime.InvalidEntrypoint",
    "Runtime.UnknownReason",
    "Extension.",
    "Init",
)
_FULL: Final = 0.98


@dataclass(frozen=True, slots=True)
class BilledUsage:
    """The line with which the platform accounts for an invocation. Seconds and MB."""

    billed: float
    seconds: float
    start: float
    memory: int
    peak: int


@dataclass(frozen=True, slots=True)
class InvocationFailure:
    """An invocation that ended without an answer from our handler."""

    fault: Fault
    type: str
    message: str
    tail: str
    """The end of the platform's log."""
    report: BilledUsage | None


def read_report(log: str) -> BilledUsage | None:
    """Return what the last REPORT line of a log says, None if there is none."""
    lines = _REPORT.findall(log)
    if not lines:
        return None
    found = {name: pattern.search(lines[-1]) for name, pattern in _FIELDS.items()}
    number = {name: float(match[1]) if match else 0.0 for name, match in found.items()}
    if not found["billed"]:
        return None
    return BilledUsage(
        billed=number["billed"] / 1000,
        seconds=number["seconds"] / 1000,
        start=number["start"] / 1000,
        memory=int(number["memory"]),
        peak=int(number["peak"]),
    )


def read_tail(header: str | None) -> str:
    """Return the text of ``X-Amz-Log-Result``."""
    return b64decode(header).decode("utf-8", "replace") if header else ""


def failure_of(body: bytes, log: str) -> InvocationFailure:
    """Return what an invocation failed of, which the platform answered with a function error."""
    report = read_report(log)
    try:
        said: Any = json.loads(body)
    except ValueError:
        said = {}
    said = said if isinstance(said, dict) else {}
    kind = str(said.get("errorType", ""))
    message = str(said.get("errorMessage", body[:500].decode("utf-8", "replace")))
    return InvocationFailure(_fault(kind, message, report, log), kind, message, _shown(log), report)


def _fault(kind: str, message: str, report: BilledUsage | None, log: str) -> Fault:
    if "Task timed out" in message or kind == "Sandbox.Timedout":
        return "timeout"
    if "ResponseSizeTooLarge" in kind:
        return "size"
    if kind == "Runtime.OutOfMemory" or "Runtime.OutOfMemory" in log:
        return "memory"
    killed = "signal: killed" in message or "exit status 137" in message
    if killed and report is not None and report.peak >= _FULL * report.memory > 0:
        return "memory"
    if kind.startswith(_STARTING):
        return "start"
    if kind.startswith("Runtime.") or "Runtime exited" in message:
        return "crash"
    return "code"


def _shown(log: str) -> str:
    """Return a log without the platform's own lines."""
    own = ("START RequestId", "END RequestId", "REPORT RequestId", "INIT_START")
    lines = [line for line in log.splitlines() if line.strip() and not line.startswith(own)]
    return "\n".join(lines[-15:])


def explain(failure: InvocationFailure) -> str:
    """Return a failure in words for the user."""
    report = failure.report
    size = f"{report.memory} MiB" if report is not None and report.memory else "its memory"
    text = {
        "timeout": f"Lambda ended the call at the function's time limit ({failure.message})",
        "memory": (
            f"it used all the memory that the function has ({size}"
            + (f", peak {report.peak} MiB" if report is not None and report.peak else "")
            + "); give it more with `memory=` (in a cell `--memory`)"
        ),
        "crash": f"its execution environment died ({failure.type}: {failure.message})",
        "size": f"its answer was larger than Lambda passes on ({failure.message})",
        "start": f"the function cannot start ({failure.type}: {failure.message})",
        "code": f"the function failed ({failure.type}: {failure.message})",
    }[failure.fault]
    if failure.tail and failure.fault not in ("timeout", "memory"):
        text += "\nthe end of its log:\n  " + "\n  ".join(failure.tail.splitlines())
    return text
