"""Jobs, settings and findings as plain text for a terminal, and as JSON for a program."""

from __future__ import annotations

import io
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final, TextIO

from cloudbutton_backend import units

if TYPE_CHECKING:
    from cloudbutton_backend.job_model import BatchRecord
    from cloudbutton_backend.journal import ErrorRecord, JobRow, LogRecord
    from cloudbutton_backend.session.cleanup import CleanupResult
    from cloudbutton_backend.session.doctor import Finding
    from cloudbutton_backend.settings import SettingsRow

TAIL: Final = 10
"""Printed lines and errors shown of one job."""


class PrintableStream(io.TextIOBase):
    """A stream to which only what can be printed comes through. A line drawn anew begins with a return."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        again = text.startswith("\r")
        self._stream.write("\r" * again + units.printable(text[again:]))
        return len(text)

    def flush(self) -> None:
        self._stream.flush()

    def fileno(self) -> int:
        return self._stream.fileno()

    def isatty(self) -> bool:
        return self._stream.isatty()


def jobs_table(jobs: Sequence[JobRow], now: float) -> str:
    """Return a line per job."""
    head = ("ID", "STATE", "NAME", "ITEMS", "TIME", "COST", "BACKEND", "BEGAN", "WHERE")
    lines = [
        (
            job.id,
            job.state.value,
            units.clipped(job.name, 28),
            items(job),
            units.seconds(job.elapsed(now)),
            units.dollars(job.spend) if job.spend else "",
            str(job.ran_on),
            ago(now - job.created),
            units.clipped(job.notebook or f"pid {job.pid}", 36),
        )
        for job in jobs
    ]
    return table([head, *lines])


def items(job: JobRow) -> str:
    """Return `12/200`, `12/?` while the length is unknown, and how many failed."""
    total = "?" if job.n_items is None else units.count(job.n_items)
    failed = f", {units.count(job.failed)} failed" if job.failed else ""
    return f"{units.count(job.done)}/{total}{failed}"


def ago(age: float) -> str:
    """Return a time gone by as a person says it."""
    if age < 1.5:
        return "just now"
    for limit, unit, name in ((90, 1, "s"), (5400, 60, "min"), (129_600, 3600, "h")):
        if age < limit:
            return f"{age / unit:.0f} {name} ago"
    return f"{age / 86_400:.0f} days ago"


def job_page(
    job: JobRow,
    *,
    batches: Sequence[BatchRecord],
    errors: Sequence[ErrorRecord],
    log: Sequence[LogRecord],
    now: float,
) -> str:
    """Return all that one screen should say of a job."""
    facts = [
        ("job", f"{job.id} ({job.name})"),
        ("state", job.state.value + _why_lost(job, now)),
        ("items", items(job)),
        ("began", f"{_clock(job.created)}, {ago(now - job.created)}"),
        ("time", _times(job, now)),
        ("backend", f"{job.ran_on}, {units.count(len({b.worker for b in batches}), 'worker')}"),
        ("memory", _memory(batches)),
        ("cost", units.dollars(job.spend)),
        ("process", f"pid {job.pid} on {job.host}"),
        ("notebook", job.notebook or ""),
        ("retried", units.count(job.retried, "item") if job.retried else ""),
        ("lost", units.count(job.lost_workers, "worker") if job.lost_workers else ""),
        ("error", job.error or ""),
        *(("warning", line) for line in job.warnings),
    ]
    parts = [table([fact for fact in facts if fact[1]])]
    if job.source:
        parts.append(_block("code", job.source.rstrip().splitlines()[:TAIL]))
    if errors:
        shown = [f"{e.item}: {e.type_name}: {units.clipped(e.message, 90)}" for e in errors[:TAIL]]
        parts.append(_block(f"errors ({units.count(job.failed or len(errors))})", shown))
    printed = "".join(each.text for each in log).rstrip().splitlines()
    if printed:
        parts.append(_block("printed last", printed[-TAIL:]))
    return "\n\n".join(parts)


def cleanup_text(gone: CleanupResult, *, dry_run: bool) -> str:
    """Return what was, or would be, removed, and what remains."""
    parts = [units.count(len(gone.jobs), "job"), units.count(gone.files, "file")]
    if gone.blobs:
        parts.append(f"{units.count(gone.blobs, 'captured value')} that no job needs")
    lines = [
        f"{'Would remove' if dry_run else 'Removed'} {', '.join(parts[:-1])} and {parts[-1]} "
        f"({units.size(gone.size)}); {units.size(gone.kept)} remain."
    ]
    if gone.forgotten:
        lines.append(f"The cache forgot {units.count(gone.forgotten, 'record')} of results.")
    return "\n".join(lines)


def config_table(rows: Iterable[SettingsRow]) -> str:
    """Return a line per setting."""
    return table([("SETTING", "VALUE", "FROM", "WHAT IT DOES"), *rows])


def finding_text(finding: Finding) -> str:
    """Return one thing that the doctor looked at, and the advice below it."""
    mark = {"ok": "ok", "warning": "note", "problem": "BAD"}[finding.status]
    line = f"{mark:<5} {finding.name:<14} {finding.detail}"
    return line + (f"\n{'':<20} {finding.advice}" if finding.advice else "")


def as_json(job: JobRow) -> dict[str, Any]:
    """Return a job as JSON-ready data; times are Unix seconds."""
    return asdict(job) | {"state": job.state.value}


def table(lines: Sequence[Sequence[str]]) -> str:
    """Return `lines` with their cells aligned, two spaces apart."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def _why_lost(job: JobRow, now: float) -> str:
    if job.state.value != "lost":
        return ""
    return f" (its process is gone; last sign of life {ago(now - job.heartbeat)})"


def _times(job: JobRow, now: float) -> str:
    progress = job.progress(now)
    elapsed, factor = units.seconds(progress.elapsed), progress.speed_up
    if factor is None:
        return elapsed
    return f"{elapsed} for {units.seconds(job.task_seconds)} of work ({units.times(factor)})"


def _memory(batches: Sequence[BatchRecord]) -> str:
    peak = max((batch.memory_peak for batch in batches), default=0)
    return f"{units.size(peak)} at most in a worker" if peak else ""


def _clock(when: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(when))


def _block(title: str, lines: Iterable[str]) -> str:
    return "\n".join([f"{title}:", *(f"    {line}" for line in lines)])
