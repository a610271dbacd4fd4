"""Checks the installation, for `cloudbutton doctor`: a list of findings."""

from __future__ import annotations

import os
import platform
import shutil
import stat
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from importlib import metadata
from typing import Final, Literal

from cloudbutton_backend import units
from cloudbutton_backend.errors import CloudError
from cloudbutton_backend.settings import resolve
from cloudbutton_backend.settings.resolve import DEFAULT
from cloudbutton_backend.storage.home import home, home_warning

REQUIRED: Final = ("cloudpickle", "ipython", "platformdirs", "xxhash")
OPTIONAL: Final = (
    "ipykernel", "jupyterlab", "ipywidgets", "dask", "botocore", "numpy", "pandas", "joblib",
)  # fmt: skip

#: Bytes of free disk below which results may not fit.
LITTLE_DISK: Final = 10**9

#: Seconds that a local worker may take to start and answer.
POOL_PATIENCE: Final = 30.0


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    name: str
    status: Literal["ok", "warning", "problem"]
    detail: str
    advice: str = ""


def examine(*, workers: bool = True) -> Iterator[Finding]:
    """Yield findings, one after the other; a check that fails is a finding itself.

    Parameters
    ----------
    workers
        Whether to look at what runs items, too: a local worker is started, which leaves a job in the
        journal, and the backend in use is asked.
    """
    looks: dict[str, Callable[[], Finding]] = {
        "Python": _python,
        "packages": _packages,
        "CPUs": _cpus,
        "settings": _settings,
        "home": _home,
        "disk": _disk,
        "shared memory": _shared_memory,
        "journal": _journal,
    }
    if workers:
        looks["local workers"] = _pool
    for name, look in looks.items():
        try:
            yield look()
        except CloudError as error:
            yield Finding(name, "problem", str(error))
        except (OSError, ImportError) as error:
            yield Finding(name, "problem", f"could not be looked at: {error}")
    if not workers:
        return
    try:
        yield from _backend_in_use()
    except (CloudError, ImportError) as error:
        yield Finding("backend", "problem", str(error))


def _backend_in_use() -> Iterator[Finding]:
    """Ask the backend that jobs go to by default, where it can tell."""
    from cloudbutton_backend.backends.capabilities import ChecksHealth
    from cloudbutton_backend.session import session

    name = resolve().backend
    backend = session.current().driver(name).backend
    if not isinstance(backend, ChecksHealth):
        return
    for what, is_well, detail in backend.health():
        yield Finding(f"{name}: {what}", "ok" if is_well else "problem", detail)


def _python() -> Finding:
    detail = f"{platform.python_version()} ({platform.python_implementation()}, {sys.platform})"
    return Finding("Python", "ok", detail)


def _packages() -> Finding:
    versions = {name: _version(name) for name in (*REQUIRED, *OPTIONAL)}
    missing = [name for name in REQUIRED if versions[name] is None]
    detail = ", ".join(f"{name} {found}" for name, found in versions.items() if found)
    if missing:
        advice = f"pip install {' '.join(missing)}"
        return Finding("packages", "problem", f"{', '.join(missing)} missing; {detail}", advice)
    return Finding("packages", "ok", detail)


def _pool() -> Finding:
    """Start one worker, have it add, and say how long that took."""
    from cloudbutton_backend.job_model import JobOptions
    from cloudbutton_backend.session.session import Session

    started = time.monotonic()
    with closing(Session()) as session:
        job = session.map(lambda x: x + 1, [1], options=JobOptions(quiet=True, name="doctor"))
        if not job.wait(POOL_PATIENCE):
            return Finding(
                "local workers", "problem", f"no answer within {POOL_PATIENCE:g} s",
                "look at `cloudbutton jobs`; a sandbox may forbid new processes",
            )  # fmt: skip
        right = job.results() == [2]
    took = time.monotonic() - started
    if not right:
        return Finding("local workers", "problem", "a worker gave a wrong answer")
    return Finding("local workers", "ok", f"the first answer took {1000 * took:.0f} ms")


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _cpus() -> Finding:
    from cloudbutton_backend.worker.pool.cpu_count import usable_cpus

    usable, present = usable_cpus(), os.cpu_count() or 1
    detail = f"{usable} usable of {present}"
    if usable < present:
        detail += " (this process may not use the others: affinity or container limit)"
    return Finding("CPUs", "ok", detail)


def _settings() -> Finding:
    from cloudbutton_backend.backends.settings_in_files import describe

    changed = {row.source for row in describe()} - {DEFAULT}
    return Finding("settings", "ok", "; ".join(sorted(changed)) or "defaults only")


def _home() -> Finding:
    path = home()
    detail = f"{path} (mode {stat.S_IMODE(path.stat().st_mode):04o})"
    warning = home_warning()
    if warning:
        return Finding("home", "warning", detail, warning)
    return Finding("home", "ok", detail)


def _disk() -> Finding:
    free = shutil.disk_usage(home()).free
    if free < LITTLE_DISK:
        advice = "Free some, or run `cloudbutton gc`: results are kept on this disk."
        return Finding("disk", "warning", f"{free / 1e9:.1f} GB free", advice)
    return Finding("disk", "ok", f"{free / 1e9:.1f} GB free")


def _shared_memory() -> Finding:
    if hasattr(os, "memfd_create"):  # Linux: has no name and no mount, so nothing can limit it
        os.close(os.memfd_create("cloudbutton-doctor"))
        return Finding("shared memory", "ok", "anonymous files in memory")
    if sys.platform == "win32":
        return Finding("shared memory", "ok", "the page file")
    return Finding("shared memory", "ok", "unlinked temporary files")


def _journal() -> Finding:
    from cloudbutton_backend.journal import database, schema

    path = home() / database.NAME
    found = database.check(path)
    if found is None:
        return Finding("journal", "ok", "empty: no job has been recorded yet")
    detail = f"{units.count(found.jobs, 'job')}, format {schema.VERSION}, {path.stat().st_size / 1e6:.1f} MB"
    if found.damage:
        advice = f"Move {path} away; the next job begins a new one. Results stay where they are."
        return Finding("journal", "problem", f"{detail}: {found.damage}", advice)
    if found.kept_aside:
        names = ", ".join(each.name for each in found.kept_aside)
        advice = f"Delete {found.kept_aside[-1]} when you no longer want it."
        return Finding("journal", "warning", f"{detail}; kept aside: {names}", advice)
    return Finding("journal", "ok", detail)
