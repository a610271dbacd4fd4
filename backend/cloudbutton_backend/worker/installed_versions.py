"""Which versions a worker's Python has."""

from __future__ import annotations

import platform
from importlib import metadata


def installed_versions(names: list[str]) -> dict[str, str | None]:
    """Return the versions of Python and of distributions, None for what is not installed."""
    found: dict[str, str | None] = {}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    found["Python"] = platform.python_version()  # which is no distribution
    return found
