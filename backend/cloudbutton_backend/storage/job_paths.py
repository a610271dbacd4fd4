"""Paths under the home of what jobs need to be resumed."""

from __future__ import annotations

from pathlib import Path

from cloudbutton_backend.storage.home import private_directory


def job_file(home: Path, job_id: str) -> Path:
    """Return the file of a job's function and options."""
    return home / "jobs" / f"{job_id}.job"


def items_file(home: Path, job_id: str) -> Path:
    """Return the file of a job's items."""
    return home / "jobs" / f"{job_id}.items"


def log_file(home: Path, job_id: str) -> Path:
    """Return the file in which the keeper of a detached job logs."""
    return home / "jobs" / f"{job_id}.log"


def blob_file(home: Path, digest: str) -> Path:
    """Return the file of a large captured value, which jobs share."""
    return home / "blobs" / digest


def make_directories(home: Path) -> None:
    """Make the directories."""
    for name in ("jobs", "blobs"):
        private_directory(name, home)


def remove_files(home: Path, job_id: str) -> None:
    """Remove what a job would need to be continued; blobs are others' too, and go with `gc`."""
    for path in (job_file(home, job_id), items_file(home, job_id)):
        path.unlink(missing_ok=True)
