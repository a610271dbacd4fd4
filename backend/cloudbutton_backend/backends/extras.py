"""The extras: the packages that each needs, and what to type where they are missing."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Final

from cloudbutton_backend.errors import MissingExtra

#: By the name of an extra in pyproject.toml: what needs it, and the modules that it brings.
EXTRAS: Final = {
    "dask": ("Dask", ("dask", "distributed")),
    "emulator": ("The Lambda emulator", ("awslambdaric", "boto3", "moto", "werkzeug")),
    "lambda": ("AWS Lambda", ("aiohttp", "botocore", "packaging")),
}


def require(extra: str) -> None:
    """Check that the packages of an optional part are installed, without importing them.

    Raises
    ------
    MissingExtra
        It names those that are missing, and the command that installs them.
    """
    title, modules = EXTRAS[extra]
    missing = [name for name in modules if not _is_installed(name)]
    if missing:
        raise MissingExtra(title, extra, missing)


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ImportError:
        return False
