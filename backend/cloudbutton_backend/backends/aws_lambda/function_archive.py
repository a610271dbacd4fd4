"""The code that every function has: the worker and cloudpickle, as one small deterministic archive."""

from __future__ import annotations

import functools
from base64 import b64encode
from hashlib import sha256
from pathlib import Path
from typing import Final

from cloudbutton_backend.backends.aws_lambda.zip_archive import deterministic_zip

HANDLER: Final = "cloudbutton_backend.worker.aws_lambda.handler.handler"


@functools.cache
def function_zip(python: str) -> bytes:
    """Return the archive for functions that run Python `python` (as `3.11`).

    The same sources give the same bytes on every machine, so a digest tells whether a function is up to
    date. Hence nothing is compressed, which each build of zlib does its own way, and no bytecode is
    included, which differs with the patch release: it would save 20 ms of 80 in a cold start.
    """
    # One archive serves all versions so far; callers need not know that.
    return deterministic_zip({name: path.read_bytes() for name, path in _files().items()})


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


def _files() -> dict[str, Path]:
    """Return where each file of the archive comes from, by its path in it."""
    import cloudpickle

    import cloudbutton_backend

    package = Path(cloudbutton_backend.__file__).parent
    files = {"cloudbutton_backend/__init__.py": package / "__init__.py"}
    for path in (package / "worker").rglob("*.py"):
        files[f"cloudbutton_backend/{path.relative_to(package).as_posix()}"] = path
    for path in Path(cloudpickle.__file__).parent.glob("*.py"):
        files[f"cloudpickle/{path.name}"] = path
    return files
