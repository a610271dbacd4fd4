"""The file of a job: its function, its options, and where it was started; not its items.

The environment's variables stay out of it: they may be secrets. Who continues a job has its own.
"""

from __future__ import annotations

import dataclasses
import os
import pickle
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from cloudbutton_backend.capture import Blob, CaptureReport
from cloudbutton_backend.capture.blobs import make_blob
from cloudbutton_backend.errors import Tampered
from cloudbutton_backend.job_model import JobOptions, JobRecord
from cloudbutton_backend.storage import sealed_files
from cloudbutton_backend.storage.job_paths import blob_file, job_file
from cloudbutton_backend.worker.wire import layout, split

_JOB: Final = "a job to be continued"
_BLOB: Final = "a captured value"


def python_version() -> str:
    """Return the version on which code by value depends: `3.11`."""
    return ".".join(platform.python_version_tuple()[:2])


@dataclass(frozen=True, kw_only=True)
class JobFile:
    """All that a job needs to be resumed, except its items."""

    record: JobRecord
    options: JobOptions
    payload: bytes = field(repr=False)
    """The captured function."""
    blobs: tuple[str, ...]
    """The digests of its large values."""
    report: CaptureReport = field(repr=False)
    imports: tuple[str, ...]
    """Import names of the installed packages that must be there."""
    displays: bool
    cwd: str
    path: tuple[str, ...]
    before: int
    python: str
    settings: Mapping[str, Any]
    """What `use` had chosen for the backend."""


def save(home: Path, job: JobFile) -> None:
    """Write a job's file, whole or not at all."""
    values = {each.name: getattr(job, each.name) for each in dataclasses.fields(job)}
    # Values by name, so that a later version may add some.
    for name in ("record", "options"):
        values[name] = _by_name(values[name])
    path = job_file(home, job.record.id)
    sealed_files.write_sealed(path, pickle.dumps(values, 5), purpose=_JOB, base=home)


def load(home: Path, job_id: str) -> JobFile:
    """Return what was saved.

    Raises
    ------
    FileNotFoundError
        Nothing was.
    Tampered
        The file is damaged, or not the user's own.
    """
    path = job_file(home, job_id)
    data = sealed_files.read_sealed(path, _JOB, base=home)
    try:
        values = pickle.loads(data)
        values["record"] = JobRecord(**_known(JobRecord, values["record"]))
        values["options"] = JobOptions(**_known(JobOptions, values["options"]))
        return JobFile(**_known(JobFile, values))
    except Exception as error:  # ours, but of a version that had other names for things
        raise Tampered(str(path), f"this version cannot read it ({error!r})") from error


def save_blob(home: Path, blob: Blob) -> None:
    """Write a captured value, unless it is there."""
    path = blob_file(home, blob.digest)
    try:
        os.utime(path)  # so that it is not cleaned up before a job's file names it
    except FileNotFoundError:
        pieces, _ = layout(blob.parts)
        sealed_files.write_sealed(path, pieces, purpose=_BLOB, base=home)


def load_blob(home: Path, digest: str) -> Blob:
    """Return a captured value that was saved.

    Raises
    ------
    FileNotFoundError, Tampered
        It is gone, or is not what it was.
    """
    path = blob_file(home, digest)
    blob = make_blob(split(sealed_files.read_sealed(path, _BLOB, base=home)))  # type: ignore[arg-type]
    if blob.digest != digest:
        raise Tampered(str(path), "the value changed in the notebook while it was written")
    return blob


def _by_name(value: Any) -> dict[str, Any]:
    return {each.name: getattr(value, each.name) for each in dataclasses.fields(value)}


def _known(kind: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    names = {each.name for each in dataclasses.fields(kind)}
    return {name: value for name, value in values.items() if name in names}
