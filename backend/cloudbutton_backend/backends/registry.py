"""Finds backends by name: those that come along, and those that other packages register."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Any

from cloudbutton_backend.backends.protocol import Backend
from cloudbutton_backend.errors import UnknownName

GROUP = "cloudbutton.backends"


def _local() -> Callable[..., Backend]:
    from cloudbutton_backend.backends.local import LocalBackend

    return LocalBackend


_BUILT_IN: dict[str, Callable[[], Callable[..., Backend]]] = {"local": _local}


def names() -> tuple[str, ...]:
    """Return the names of the known backends."""
    registered = {entry.name for entry in entry_points(group=GROUP)}
    return tuple(sorted(registered | set(_BUILT_IN)))


def create(name: str, **settings: Any) -> Backend:
    """Return a new backend.

    Raises
    ------
    UnknownName
        If no backend has that name, or it has no such setting; it lists the known ones.
    """
    maker = _maker(name)
    known = [
        each.name
        for each in inspect.signature(maker).parameters.values()
        if each.kind is each.POSITIONAL_OR_KEYWORD
    ]
    for setting in settings:
        if setting not in known:
            raise UnknownName(f"setting of the {name} backend", setting, known)
    return maker(**settings)


def _maker(name: str) -> Callable[..., Backend]:
    if name in _BUILT_IN:
        return _BUILT_IN[name]()
    for entry in entry_points(group=GROUP):
        if entry.name == name:
            maker: Callable[..., Backend] = entry.load()
            return maker
    raise UnknownName("backend", name, names())
