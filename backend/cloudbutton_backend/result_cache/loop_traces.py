"""Traces of a cell's loops, by which a rerun in another kernel recognises their results.

``jobs/<id>.keys``, sealed: u32 length of a JSON header, the header (``code``, ``versions``, ``classes``,
``doubtful``, ``settings``), then 20 bytes for each item: the beginning of the digest of its content, or
zeros where it has none. It is written by a thread of its own, once the loop has run for a second, and goes
with its job: the kernel may also die when the cell has ended.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import struct
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

from cloudbutton_backend.capture import CaptureReport
from cloudbutton_backend.capture.blobs import rough_size
from cloudbutton_backend.capture.content_digest import ContentDigest, Unkeyable, content_of
from cloudbutton_backend.errors import CannotContinue, CloudError
from cloudbutton_backend.result_cache.code_versions import needed_by, versions_of
from cloudbutton_backend.result_cache.key_ingredients import platform_here
from cloudbutton_backend.result_cache.keys import KEY_BYTES, is_fixed
from cloudbutton_backend.result_cache.result_classes import digest_of
from cloudbutton_backend.storage import sealed_files
from cloudbutton_backend.storage.home import private_directory
from cloudbutton_backend.worker.process_state import package_of

_FORMAT: Final = 2
"""Of the header, and of what the digests are made of: to be raised when either changes."""
_PURPOSE: Final = "the items of a loop"
_LENGTH: Final = struct.Struct("<I")
_NONE: Final = bytes(KEY_BYTES)
_AFTER: Final = 1.0
"""Seconds; a loop that is over sooner is run again as soon."""
_SLICE: Final = 0.02
_SHARE: Final = 0.2
"""Of the time that the loop runs, for this."""
_IMPORTED_AS: Final = {"scikit-learn": "sklearn"}
_LARGE: Final = 32 << 20
"""Bytes; walking more of Python's objects may take seconds."""
_MOST: Final = 200_000
"""Items; those of a longer loop that come after are run again."""


@dataclass(frozen=True)
class LoopTrace:
    """The trace of a loop."""

    code: str
    """The digest of its body and of the values that it uses; empty where these are too large."""
    versions: dict[str, str]
    """Of Python and of the packages that it used, by their names."""
    classes: dict[str, str]
    """The notebook's classes that it used: the ids that they had, and their digests."""
    items: tuple[bytes, ...]
    doubtful: int = 0
    """Items before this one may have been looked at when the loop had changed them."""
    settings: dict[str, str] = field(default_factory=dict)
    """Digests of what the process had set for itself, as far as the loop can have been under its influence;
    empty where all is as by default."""


class RunningLoop(Protocol):
    """A job, as far as it matters here."""

    @property
    def id(self) -> str: ...

    def explain(self) -> CaptureReport: ...

    def add_done_callback(self, callback: Callable[[Any], None]) -> None: ...


class LoopTracer:
    """Writes down what a loop is while it runs.

    Parameters
    ----------
    function
        Its body, without what the process has set for itself.
    settings
        That, by the name of each setting.

    Attributes
    ----------
    handed
        How many items' results the loop was given so far. It may have changed these items with them:
        to be counted before it is given one.
    """

    def __init__(
        self,
        home: Path,
        job: RunningLoop,
        function: Callable[..., Any],
        items: Sequence[Any],
        settings: Mapping[str, Any],
    ) -> None:
        self._settings = settings
        self._home = home
        self._path = keys_file(home, job.id)
        self._over = threading.Event()
        self._has_loop_ended = False
        self.handed = 0
        job.add_done_callback(lambda _: self._over.set())
        # What it looks at is released with the thread; a cell may have many loops.
        looked_at = (job, function, items)
        threading.Thread(
            target=self._run, args=looked_at, name="cloudbutton-keys", daemon=True
        ).start()

    def end(self) -> None:
        """The loop has ended: what its items are from now on need not be what they were."""
        self._has_loop_ended = True
        self._over.set()

    def _run(self, job: RunningLoop, function: Callable[..., Any], items: Sequence[Any]) -> None:
        if self._over.wait(_AFTER):
            return
        with contextlib.suppress(CloudError, OSError, Unkeyable):  # it runs again, then
            trace = self._look(job, function, items)
            if trace is not None:
                write_trace(self._path, trace, self._home)

    def _look(
        self, job: RunningLoop, function: Callable[..., Any], items: Sequence[Any]
    ) -> LoopTrace | None:
        """Return what the loop is; None if the job ended meanwhile, as values may be others by now."""
        report = job.explain()
        body = content_of_body(function, report)
        if self._over.is_set():
            return None
        ids, digests, doubtful = set(body.classes if body else ()), list[bytes](), 0
        packages = set(report.packages)
        until = time.monotonic() + _SLICE
        for index, item in enumerate(items[:_MOST]):
            content = None if rough_size(item) > _LARGE else _content(item)
            if self._has_loop_ended:
                break
            digests.append(_NONE if content is None else content.digest[:KEY_BYTES])
            if content is not None:
                ids |= content.classes
                packages |= content.packages
            if index < self.handed and not is_fixed(item):
                doubtful = index + 1
            if time.monotonic() > until:
                self._over.wait(_SLICE * (1 / _SHARE - 1))
                until = time.monotonic() + _SLICE
        classes = {each: digest for each in ids if (digest := digest_of(each)) is not None}
        code = "" if body is None else body.digest.hex()
        settings = digests_of(self._settings, packages_behind(packages))
        return LoopTrace(
            code, versions_behind(report.packages), classes, tuple(digests), doubtful, settings
        )


def content_of_body(body: Callable[..., Any], report: CaptureReport) -> ContentDigest | None:
    """Return the digest of a loop's body; None where that would take long, or is impossible."""
    if report.payload_nbytes + report.blobs_nbytes > _LARGE:
        return None
    return _content(body)


def versions_behind(packages: Iterable[str]) -> dict[str, str]:
    """Return the versions of Python and of the packages that a loop uses, directly or not."""
    python, machine = platform_here()
    known = versions_of(packages)
    of_packages = {each.name: each.version for each in (*known, *needed_by(known))}
    return {"Python": python, "machine": machine, **of_packages}


def packages_behind(packages: Iterable[str]) -> set[str]:
    """Return the import names of packages that code with these reaches, where settings of them may be.

    By a package that needs it, too: pandas computes with NumPy.
    """
    names = set(packages)
    behind = versions_behind(names).keys()
    return names | {_IMPORTED_AS.get(each, each) for each in behind}


def digests_of(settings: Mapping[str, Any], reached: Set[str]) -> dict[str, str]:
    """Return what tells settings from others, those of packages out of reach left out."""
    return {
        name: hashlib.sha256(repr(value).encode()).hexdigest()[:32]
        for name, value in settings.items()
        if package_of(name) in ("", *reached)
    }


def _content(item: Any) -> ContentDigest | None:
    try:
        return content_of(item)
    except Unkeyable:
        return None


def keys_file(home: Path, job_id: str) -> Path:
    """Return the file of what a job's items are."""
    return home / "jobs" / f"{job_id}.keys"


def write_trace(path: Path, trace: LoopTrace, home: Path) -> None:
    """Write a trace, whole or not at all."""
    header = {
        "format": _FORMAT,
        "code": trace.code,
        "versions": trace.versions,
        "classes": trace.classes,
        "doubtful": trace.doubtful,
        "settings": trace.settings,
    }
    text = json.dumps(header).encode()
    private_directory(path.parent.name, home)
    pieces = [_LENGTH.pack(len(text)), text, b"".join(trace.items)]
    sealed_files.write_sealed(path, pieces, purpose=_PURPOSE, base=home)


def read_trace(home: Path, job_id: str) -> LoopTrace | None:
    """Return what was written of a job's loop, None if nothing was.

    Raises
    ------
    Tampered
        The file is damaged, or not the user's own.
    CannotContinue
        Another version wrote it, in a way that cannot be compared.
    """
    try:
        data = sealed_files.read_sealed(keys_file(home, job_id), _PURPOSE, base=home)
    except FileNotFoundError:
        return None
    (length,) = _LENGTH.unpack_from(data)
    start = _LENGTH.size + length
    header = json.loads(bytes(data[_LENGTH.size : start]))
    if header.get("format") != _FORMAT:
        raise CannotContinue(
            "it was started by another version of Cloud Button, which compares loops in another way"
        )
    digests = (bytes(data[at : at + KEY_BYTES]) for at in range(start, len(data), KEY_BYTES))
    known = header["code"], header["versions"], header["classes"]
    return LoopTrace(*known, tuple(digests), header["doubtful"], header["settings"])
