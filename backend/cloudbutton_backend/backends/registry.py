"""Finds backends by name: those that come along, and those that other packages register."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Protocol

from cloudbutton_backend.backends.capabilities import DeclaresSettings
from cloudbutton_backend.backends.protocol import Backend
from cloudbutton_backend.errors import UnknownName

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "cloudbutton.backends"


class BackendMaker(Protocol):
    """A factory of a backend, usually its class."""

    def __call__(self, *args: Any, **kwargs: Any) -> Backend: ...


def _local() -> BackendMaker:
    from cloudbutton_backend.backends.local import LocalBackend

    return LocalBackend


def _dask() -> BackendMaker:
    from cloudbutton_backend.backends.dask.backend import DaskBackend

    return DaskBackend


def _lambda() -> BackendMaker:
    from cloudbutton_backend.backends.aws_lambda.backend import LambdaBackend

    return LambdaBackend


def _ssh() -> BackendMaker:
    from cloudbutton_backend.backends.ssh.backend import SshBackend

    return SshBackend


_BUILT_IN: dict[str, Callable[[], BackendMaker]] = {
    "dask": _dask,
    "lambda": _lambda,
    "local": _local,
    "ssh": _ssh,
}


def _registered() -> Iterable[EntryPoint]:
    from importlib.metadata import entry_points  # 10 ms, for a backend that is not built in

    return entry_points(group=GROUP)


def names() -> tuple[str, ...]:
    """Return the names of the known backends."""
    registered = {entry.name for entry in _registered()}
    return tuple(sorted(registered | set(_BUILT_IN)))


def create(name: str, **settings: Any) -> Backend:
    """Return a new backend.

    Raises
    ------
    UnknownName
        If no backend has that name, or it has no such setting; it lists the known ones.
    """
    make = maker(name)
    if settings:
        _check(name, make, settings)
    if isinstance(make, DeclaresSettings):
        return make(make.settings_class(**settings))
    return make(**settings)


def settings_of(name: str) -> dict[str, Any]:
    """Return the settings that a backend has, with their defaults.

    Raises
    ------
    UnknownName
        If no backend has that name; it lists the known ones.
    """
    return _settings_of(maker(name))


def _settings_of(make: BackendMaker) -> dict[str, Any]:
    if isinstance(make, DeclaresSettings):
        return {each.name: each.default for each in dataclasses.fields(make.settings_class)}
    import inspect

    parameters = inspect.signature(make).parameters.values()
    return {
        each.name: each.default for each in parameters if each.kind is each.POSITIONAL_OR_KEYWORD
    }


def _check(name: str, make: BackendMaker, settings: dict[str, Any]) -> None:
    """Refuse settings that a backend does not have."""
    known = list(_settings_of(make))
    for setting in settings:
        if setting not in known:
            raise UnknownName(f"setting of the {name} backend", setting, known)


def maker(name: str) -> BackendMaker:
    """Return what makes a backend, usually its class.

    Raises
    ------
    UnknownName
        If no backend has that name; it lists the known ones.
    """
    if name in _BUILT_IN:
        return _BUILT_IN[name]()
    for entry in _registered():
        if entry.name == name:
            make: BackendMaker = entry.load()
            return make
    raise UnknownName("backend", name, names())
