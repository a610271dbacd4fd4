"""Maps import names to installed distributions, as lazily as possible."""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from cloudbutton_backend.capture.user_modules import user_module

#: Always beside the user's function.
_GIVEN = frozenset({"cloudpickle", "cloudbutton_ext", "cloudbutton_magic", "cloudbutton_backend"})


class Distribution(NamedTuple):
    """An installed distribution that the code needs in the worker."""

    name: str
    version: str


def third_party(names: Iterable[str]) -> list[str]:
    """Return those top-level import names that are neither standard library nor the user's."""
    found = []
    for name in sorted(set(names)):
        if name in sys.stdlib_module_names or name in _GIVEN or name.startswith("__"):
            continue
        module = sys.modules.get(name)
        if module is None or not user_module(module):
            found.append(name)
    return found


def quick_version(name: str) -> str:
    """Return the version of an imported package without searching for its distribution."""
    version = getattr(sys.modules.get(name), "__version__", "")
    return version if isinstance(version, str) else ""


def distributions(names: Iterable[str]) -> tuple[Distribution, ...]:
    """Return the distributions that provide the top-level import `names`."""
    from importlib.metadata import version

    found = set()
    for name in names:
        for distribution in _provided_by().get(name, ()):
            found.add(Distribution(distribution, version(distribution)))
    return tuple(sorted(found))


@functools.cache
def _provided_by() -> Mapping[str, list[str]]:
    # Reads every installed distribution's file list: a tenth of a second or more.
    from importlib import metadata

    found = dict(metadata.packages_distributions())
    if sys.version_info < (3, 11):  # there it knows only what older build tools noted
        for distribution in metadata.distributions():
            for file in distribution.files or ():
                if file.suffix == ".py":
                    name = file.parts[0].removesuffix(".py")
                    found.setdefault(name, [distribution.metadata["Name"]])
    return found
