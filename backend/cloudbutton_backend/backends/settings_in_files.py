"""Backends' own settings in files, checked once the backends are known."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from typing import Any, Final

from cloudbutton_backend import settings
from cloudbutton_backend.backends import registry
from cloudbutton_backend.errors import UnknownName
from cloudbutton_backend.settings import SettingsRow, SettingsSources
from cloudbutton_backend.settings.resolve import USED
from cloudbutton_backend.settings.sources import SettingsFile, in_files

_NOTHING: Final[Mapping[str, Mapping[str, Any]]] = {}


def written(name: str, around: SettingsSources | None = None) -> dict[str, Any]:
    """Return a backend's own settings as files have them; their values are for the backend to check.

    Raises
    ------
    UnknownName
        A file has a table that is called like no backend, or in this one's a setting that it does not
        have; either may be misspelt.
    SettingsError
        As from `settings.resolve`.
    """
    found = _own(around)
    _check(name, found)
    return {
        setting: each.value
        for each in found
        for backend, _, setting in [each.name.partition(".")]
        if backend == name
    }


def describe(used: Mapping[str, Mapping[str, Any]] = _NOTHING) -> list[SettingsRow]:
    """Return a line for every setting, and for those of backends that are set in a file or in `used`.

    Raises
    ------
    UnknownName, SettingsError
        As from `written`, for all backends.
    """
    found = {each.name: each for each in _own(None)}
    for backend in {name.partition(".")[0] for name in found}:
        with suppress(ImportError):  # of a package that is not installed: it cannot be asked
            _check(backend, tuple(found.values()))
    for backend, chosen in used.items():
        for setting, value in chosen.items():
            name = f"{backend}.{setting}"
            found[name] = SettingsFile(name, value, USED)
    return settings.describe() + [_row(found[name]) for name in sorted(found)]


def _row(found: SettingsFile) -> SettingsRow:
    value = str(found.value).lower() if isinstance(found.value, bool) else str(found.value)
    return SettingsRow(
        found.name, value, found.source, f"of the {found.name.partition('.')[0]} backend"
    )


def _own(around: SettingsSources | None) -> tuple[SettingsFile, ...]:
    files = in_files(SettingsSources.here() if around is None else around)
    return tuple(each for each in files if "." in each.name)


@lru_cache(maxsize=16)  # for each job; looking for backends of other packages alone takes 10 ms
def _check(name: str, found: tuple[SettingsFile, ...]) -> None:
    known = registry.names() if found else ()
    for each in found:
        backend, _, setting = each.name.partition(".")
        if backend not in known:
            raise UnknownName(f"table ({each.source})", backend, known)
        if backend == name and setting not in (own := registry.settings_of(name)):
            raise UnknownName(f"setting of the {name} backend ({each.source})", setting, own)
