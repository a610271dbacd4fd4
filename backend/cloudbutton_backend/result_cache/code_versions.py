"""Finds the installed distributions that code depends on, with their versions."""

from __future__ import annotations

import functools
import hashlib
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from cloudbutton_backend.capture.distributions import Distribution, distributions, third_party

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_EXTRA: Final = re.compile(r"\bextra\s*==\s*['\"]([^'\"]+)['\"]")
#: What a package needs to be worked on, and no result depends on.
_OF_DEVELOPERS: Final = re.compile(
    r"tests?|testing|dev|devel|develop|docs?|documentation|build|lint|typing|types|type|check|cover|"
    r"benchmarks?|examples?|maintenance|style|mypy|ci|all",
    re.IGNORECASE,
)
_MOST_FILES: Final = 5_000


def versions_of(packages: Iterable[str]) -> tuple[Distribution, ...]:
    """Return what the import names `packages` stand for; those of the standard library are left out."""
    return _versions_of(tuple(third_party(packages)))


@functools.lru_cache(maxsize=256)
def _versions_of(names: tuple[str, ...]) -> tuple[Distribution, ...]:
    found: set[Distribution] = set()
    for name in names:
        found.update(distributions([name]) or [_without_metadata(name)])
    return tuple(sorted(found))


def needed_by(known: Iterable[Distribution]) -> tuple[Distribution, ...]:
    """Return the installed distributions that `known` need, directly or not, themselves left out.

    What may be used if it is there (an extra, such as pyarrow by pandas) counts for `known` only.
    """
    return _needed_by(tuple(known))


@functools.lru_cache(maxsize=256)
def _needed_by(known: tuple[Distribution, ...]) -> tuple[Distribution, ...]:
    from importlib import metadata

    given = {_canonical(each.name) for each in known}
    seen, found = set(given), set()
    queue = [(each.name, True) for each in known]
    while queue:
        name, with_extras = queue.pop()
        try:
            requirements = metadata.requires(name) or ()
        except metadata.PackageNotFoundError:
            continue
        for requirement in requirements:
            extra = _EXTRA.search(requirement)
            if extra and (not with_extras or _OF_DEVELOPERS.fullmatch(extra.group(1))):
                continue
            match = _NAME.match(requirement)
            other = match.group() if match else ""
            if not other or _canonical(other) in seen:
                continue
            seen.add(_canonical(other))
            try:
                found.add(Distribution(_canonical(other), metadata.version(other)))
            except metadata.PackageNotFoundError:
                continue
            queue.append((other, False))
    return tuple(sorted(found))


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _without_metadata(name: str) -> Distribution:
    """Return what stands for the version of a package that no distribution claims: its files."""
    module = sys.modules.get(name)
    places = [Path(place) for place in getattr(module, "__path__", None) or ()]
    file = getattr(module, "__file__", None)
    if not places and file:
        places = [Path(file)]
    if not places:
        return Distribution(name, "not installed" if module is None else "built in")
    state, count = hashlib.sha256(), 0
    for place in places:
        for path in sorted(place.rglob("*")) if place.is_dir() else [place]:
            if path.suffix == ".pyc" or not path.is_file():
                continue
            found = path.stat()
            state.update(f"{path}\0{found.st_size}\0{found.st_mtime_ns}\0".encode())
            count += 1
            if count == _MOST_FILES:
                return Distribution(name, state.hexdigest()[:16])
    return Distribution(name, state.hexdigest()[:16])
