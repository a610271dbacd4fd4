"""Keeps everything under the home within its bounds: jobs, shared values, the cache.

::

    jobs with their results ──▶ journal.retention: the oldest finished ones go
    jobs/<id>.job names ──────▶ blobs/<digest>: those that no job needs go
    results that are gone ────▶ cache.db: they are not found any more
    pieces of files whose writers were killed ──▶ gone after a day
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cloudbutton_backend.errors import CloudError
from cloudbutton_backend.journal.retention import GRACE, SharedFiles, gc

_DAY: Final = 86_400.0
_FOLDERS: Final = ("", "results", "jobs", "blobs")
_GOING: Final = ".going"
"""What a captured value is called while it is looked at for the last time."""


@dataclass(frozen=True, kw_only=True)
class CleanupResult:
    """The files that were, or in a dry run would be, removed."""

    jobs: tuple[str, ...]
    files: int
    """Of these jobs."""
    blobs: int
    """Captured values that no job needs any more."""
    forgotten: int
    """Results that the cache does not find any more, as their files are gone; not known in a dry run."""
    size: int
    """Bytes of all these."""
    kept: int
    """Bytes that remain."""


def clean_up(
    home: Path,
    max_bytes: int,
    max_age: float,
    *,
    dry_run: bool = False,
    now: float | None = None,
) -> CleanupResult:
    """Remove what is too old or too much; never of a job that runs, nor of a young one that was lost.

    Raises
    ------
    JournalError
        The journal cannot be used; nothing is removed then.
    """
    now = time.time() if now is None else now
    named, unread = _named_blobs(home)
    sizes = _sizes_of_blobs(home)
    freed = gc(
        home,
        max_bytes,
        max_age,
        shared=SharedFiles(named=named, sizes=sizes),
        dry_run=dry_run,
        now=now,
    )
    needed = set().union(*(named[job] for job in named.keys() - set(freed.jobs)))
    # A job's file that this version cannot read may name any of them.
    least_age = max(max_age, GRACE) if unread else GRACE
    blobs = [
        digest
        for digest in sizes.keys() - needed
        if _is_removed(home / "blobs" / digest, least_age, dry_run=dry_run, now=now)
    ]
    of_blobs = sum(sizes[digest] for digest in blobs)
    forgotten = 0
    if not dry_run:
        from cloudbutton_backend import result_cache  # many homes have none

        forgotten = result_cache.remove_missing(home)
        _remove_pieces(home, now)
    return CleanupResult(
        jobs=freed.jobs,
        files=freed.files,
        blobs=len(blobs),
        forgotten=forgotten,
        size=freed.size + of_blobs,
        kept=freed.kept + sum(sizes.values()) - of_blobs,
    )


def _named_blobs(home: Path) -> tuple[Mapping[str, frozenset[str]], bool]:
    """Return the captured values that each job names, and whether a job's file could not be read."""
    folder = home / "jobs"
    named: dict[str, frozenset[str]] = {}
    unread = False
    for path in folder.glob("*.job") if folder.is_dir() else ():
        from cloudbutton_backend.durable import job_file

        try:
            named[path.stem] = frozenset(job_file.load(home, path.stem).blobs)
        except FileNotFoundError:
            continue  # its job was done just now
        except (OSError, CloudError):
            unread = True
    return named, unread


def _sizes_of_blobs(home: Path) -> dict[str, int]:
    sizes: dict[str, int] = {}
    for path in _files(home / "blobs"):
        if not path.name.startswith("."):
            with suppress(FileNotFoundError):
                sizes[path.name] = path.stat().st_size
    return sizes


def _is_removed(path: Path, least_age: float, *, dry_run: bool, now: float) -> bool:
    """Remove a captured value that no job names, unless a process is about to use it.

    1. A job that begins touches the values that are there, writes the others, and then the file that
       names them all. So a young value may be needed though nothing names it.
    2. We see an old one. Before we remove it, a job begins and touches it.

    So it is renamed first. A process that comes later does not find it, and writes it again; and if it
    turns out to have been touched by then, it gets its name back.
    """
    with suppress(FileNotFoundError):
        if now - path.stat().st_mtime <= least_age:
            return False
        if dry_run:
            return True
        going = path.with_name(f".{path.name}{_GOING}")
        path.rename(going)
        if now - going.stat().st_mtime > least_age:
            going.unlink()
            return True
        if not path.exists():
            going.rename(path)
        else:
            going.unlink()
    return False


def _remove_pieces(home: Path, now: float) -> None:
    """Remove files that were being written when their process was killed."""
    for name in _FOLDERS:
        for path in _entries(home / name):
            if not path.name.startswith(".") or now - _changed(path, now) <= _DAY:
                continue
            with suppress(OSError):
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    os.unlink(path)


def _changed(path: Path, now: float) -> float:
    try:
        return path.lstat().st_mtime
    except OSError:
        return now


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in _entries(folder) if path.is_file())


def _entries(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []
