"""Finds backends by name: those that come along, and those that other packages register."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Any

from cloudbutton_backend.backends.protocol import Backend
from cloudbutton_backend.errors import UnknownName

GROUP = "cloudbutton.backends"


def _local(**settings: Any) -> Backend:
    from cloudbutton_backend.backends.local import LocalBackend

    return LocalBackend(**settings)


_BUILT_IN: dict[str, Callable[..., Backend]] = {"local": _local}


def names() -> tuple[str, ...]:
    """Return the names of the known backends."""
    registered = {entry.name for entry in entry_points(group=GROUP)}
    return tuple(sorted(registered | set(_BUILT_IN)))


def create(name: str, **settings: Any) -> Backend:
    """Return a new backend.

    Raises
    ------
    UnknownName
        If no backend has that name; it lists the known ones.
    """
    if name in _BUILT_IN:
        return _BUILT_IN[name](**settings)
    for entry in entry_points(group=GROUP):
        if entry.name == name:
            backend: Backend = entry.load()(**settings)
            return backend
    raise UnknownName("backend", name, names())
