"""The deployed code, worker and cloudpickle, as a deterministic zip archive."""

from __future__ import annotations

import functools
import io
import zipfile
from base64 import b64encode
from collections.abc import Mapping
from hashlib import sha256
from typing import Final

from cloudbutton_backend.backends.worker_code import cloudpickle_code, worker_code

#: The earliest that the format can say. All files have it.
_NEVER: Final = (1980, 1, 1, 0, 0, 0)
_REGULAR: Final = 0o100000
_UNIX: Final = 3


def deterministic_zip(files: Mapping[str, bytes]) -> bytes:
    """Return an archive of `files`, by their paths, uncompressed."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name in sorted(files):
            archive.writestr(entry(name), files[name])
    return out.getvalue()


def entry(name: str, *, executable: bool = False) -> zipfile.ZipInfo:
    """Return what an archive says of one file: readable for everybody, as Lambda needs it."""
    info = zipfile.ZipInfo(name, _NEVER)
    info.create_system = _UNIX  # else the machine that makes it shows
    info.external_attr = (_REGULAR | (0o755 if executable else 0o644)) << 16
    return info


HANDLER: Final = "cloudbutton_backend.worker.aws_lambda.handler.handler"


@functools.cache
def function_zip(python: str) -> bytes:
    """Return the archive for functions that run Python `python` (as `3.11`).

    The same sources give the same bytes on every machine, so a digest tells whether a function is up to
    date. Hence nothing is compressed, which each build of zlib does its own way, and no bytecode is
    included, which differs with the patch release: it would save 20 ms of 80 in a cold start.
    """
    # One archive serves all versions so far; callers need not know that.
    return deterministic_zip(worker_code("aws_lambda") | cloudpickle_code())


def code_sha256(archive: bytes) -> str:
    """Return an archive's digest as Lambda states it (`CodeSha256`)."""
    return b64encode(sha256(archive).digest()).decode()


def version() -> str:
    """Return this project's version, which what is deployed is tagged with."""
    from importlib import metadata

    try:
        return metadata.version("cloudbutton")
    except metadata.PackageNotFoundError:
        return "checkout"
