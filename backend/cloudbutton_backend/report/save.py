"""A report put where the user wants it, whole or not at all."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from cloudbutton_backend.errors import UsageError
from cloudbutton_backend.journal import JournalReader
from cloudbutton_backend.report.facts import ReportedJob, facts_of_job, facts_of_row
from cloudbutton_backend.report.page import page


def report_of_job(job: ReportedJob, path: str | os.PathLike[str] | None = None) -> Path:
    """Write the report of a job of this process; return where it is.

    Raises
    ------
    UsageError
        It cannot be written there.
    """
    return write(page(facts_of_job(job)), path, job.id)


def report_of_id(
    job_id: str, path: str | os.PathLike[str] | None = None, *, home: Path | None = None
) -> Path:
    """Write the report of a job of any process, by what the journal has of it; return where it is.

    Raises
    ------
    UnknownName
        The journal has no job whose id begins so.
    UsageError
        It has several, or the report cannot be written there.
    """
    reader = JournalReader(home)
    row = reader.job(job_id)
    return write(page(facts_of_row(reader, row)), path, row.id)


def text_of_id(job_id: str, *, home: Path | None = None) -> str:
    """Return the report of a job of any process as the text of an HTML file.

    Raises
    ------
    UnknownName, UsageError
        As from `report_of_id`.
    """
    reader = JournalReader(home)
    return page(facts_of_row(reader, reader.job(job_id)))


def write(text: str, path: str | os.PathLike[str] | None, job_id: str) -> Path:
    """Write a report to `path`: a file, a directory, or nothing for one in the working directory."""
    target = Path(f"cloudbutton-{job_id}.html" if path is None else path).expanduser()
    if target.is_dir():
        target /= f"cloudbutton-{job_id}.html"
    try:
        made = target.with_name(f".{target.name}-{os.urandom(4).hex()}")
        try:
            with open(made, "x", encoding="utf-8", newline="\n") as file:
                file.write(text)
            os.replace(made, target)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(made)
            raise
    except OSError as error:
        reason = error.strerror or str(error)
        raise UsageError(f"The report cannot be written to {target}: {reason}.") from error
    return target.absolute()
