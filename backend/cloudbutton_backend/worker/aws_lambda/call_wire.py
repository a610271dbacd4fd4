"""The format of calls and answers: JSON, with bytes in base64 or in storage.

A call is an object with the keys of `CallSpec`; parts that are too large for it, or the same in many
calls, are named by SHA-256 and fetched by a presigned URL. The answer holds sealed records, the last of
which tells how the call ended (`end_record`), or says that they lie in storage.
"""

from __future__ import annotations

import functools
import hashlib
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

WIRE: Final = 1
"""Version of what is described here. Another one is refused."""
ASK_EVERY: Final = 1.0
"""Seconds between checks whether a call is still wanted. Each is a request to storage."""
START_ALLOWANCE: Final = 1.0
"""Seconds that an environment may take to start; what it takes beyond is taken off its first lease, as
it is billed as well."""
INLINE_ANSWER: Final = 1 << 20
"""Bytes of records that an answer carries itself. Lambda would take 6 MB of JSON, where base64 adds a
third; but from about 1 MB on, packing and unpacking that takes longer than a request to storage.
"""


@dataclass(frozen=True, slots=True)
class CallPart:
    """Bytes that come along, or are to be fetched."""

    data: bytes | None
    sha256: str = ""
    nbytes: int = 0
    url: str = ""


@dataclass(frozen=True, slots=True)
class CallSpec:
    """One call: a job, and the items of it to run."""

    job_id: str
    """Of the job and its function: an environment may have seen another function under the job's name."""
    key: bytes
    """With which records are sealed."""
    seed: int
    guard: str
    timeout: float | None
    stop_on_error: bool
    displays: bool
    variables: dict[str, str]
    function: CallPart
    blobs: dict[str, CallPart]
    """By the digests that the function refers to."""
    batch: int
    first: int
    count: int
    lease: float | None
    items: CallPart
    answer: str
    """URL where an answer that is too large is put."""
    detached: bool
    """Whether the caller does not wait: the answer is always written to storage."""
    stop: str
    """URL of an object that tells which batches must stop, if it exists."""
    packages: CallPart | None = None
    """An archive with packages that were too large to be deployed with the function."""


def inline_part(data: bytes) -> dict[str, Any]:
    """Return bytes as they travel inside a call."""
    return {"data": b64encode(data).decode("ascii")}


def stored_part(sha256: str, nbytes: int, url: str) -> dict[str, Any]:
    """Return how a call names bytes that are in storage."""
    return {"sha256": sha256, "nbytes": nbytes, "url": url}


def _read_part(found: Mapping[str, Any]) -> CallPart:
    if "data" in found:
        return CallPart(b64decode(found["data"]))
    return CallPart(None, found["sha256"], found["nbytes"], found["url"])


def read_call(event: Mapping[str, Any]) -> CallSpec:
    """Return the call that an event holds."""
    job = event["job"]
    function = _read_part(job["function"])
    digest = function.sha256 or hashlib.sha256(function.data or b"").hexdigest()
    return CallSpec(
        job_id=f"{job['id']}-{digest[:16]}",
        key=b64decode(job["key"]),
        seed=job["seed"],
        guard=job["guard"],
        timeout=job["timeout"],
        stop_on_error=job["stop_on_error"],
        displays=job["displays"],
        variables=job["variables"],
        function=function,
        blobs={digest: _read_part(blob) for digest, blob in job["blobs"].items()},
        batch=event["batch"],
        first=event["first"],
        count=event["count"],
        lease=event["lease"],
        items=_read_part(event["items"]),
        answer=event["answer"],
        detached=event["detached"],
        stop=job["stop"],
        packages=_read_part(job["packages"]) if job["packages"] else None,
    )


@functools.cache
def code_digest() -> str:
    """Return a digest of this package's sources: the same where a function is up to date."""
    state = hashlib.sha256()
    package = Path(__file__).parents[1]
    for path in sorted(package.rglob("*.py")):
        name = path.relative_to(package).as_posix()
        state.update(name.encode() + b"\0" + path.read_bytes())
    return state.hexdigest()[:16]
