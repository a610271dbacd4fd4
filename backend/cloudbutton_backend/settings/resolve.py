"""Resolves settings: call options over `%cloud use` over variables over files over defaults."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from cloudbutton_backend.settings.known import FIELDS, SettingsValues, describe_value, show_value
from cloudbutton_backend.settings.sources import SettingsFile, SettingsSources, checked, written

DEFAULT: Final = "default"
USED: Final = "%cloud use"
CALLED: Final = "this call"


@dataclass(frozen=True, kw_only=True)
class ResolvedSettings(SettingsValues):
    """Settings whose values know where they came from."""

    sources: Mapping[str, str] = field(default_factory=dict)
    """By name of the setting; a setting that is not in it has its default."""

    backends: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """By name of a backend: its own settings, as far as they are written down; not checked."""

    def source(self, name: str) -> str:
        """Return where the value of `name` was set."""
        return self.sources.get(name, DEFAULT)


class SettingsRow(NamedTuple):
    """A line of `%cloud config`."""

    name: str
    value: str
    source: str
    description: str


#: What `%cloud use` has set in this process.
_used: dict[str, SettingsFile] = {}


def use(**settings: Any) -> None:
    """Set values for the rest of this process; None gives a setting back to files and variables.

    Raises
    ------
    UnknownName, SettingsError
        As from `resolve`; nothing is changed then.
    """
    checks = {
        name: checked(name, FIELDS[name].default if value is None and name in FIELDS else value,
                      source=USED)
        for name, value in settings.items()
    }  # fmt: skip
    for name, found in checks.items():
        if settings[name] is None:
            _used.pop(name, None)
        else:
            _used[name] = found


def forget_used() -> None:
    """Give every setting back to files and variables."""
    _used.clear()


def resolve(around: SettingsSources | None = None, /, **call: Any) -> ResolvedSettings:
    """Return the settings that hold for a call with these options; None means not given.

    Raises
    ------
    UnknownName
        A key, variable or option that is no setting, with the nearest that is.
    SettingsError
        A value that does not fit, with the file and line or the variable.
    """
    found = list(written(SettingsSources.here() if around is None else around))
    found += _used.values()
    found += [
        checked(name, value, source=CALLED) for name, value in call.items() if value is not None
    ]
    values = {each.name: each.value for each in found if "." not in each.name}
    backends = _tables(found)
    sources = {each.name: each.source for each in found}
    return ResolvedSettings(**values, backends=backends, sources=sources)


def _tables(found: Iterable[SettingsFile]) -> dict[str, dict[str, Any]]:
    tables: dict[str, dict[str, Any]] = {}
    for each in found:
        backend, dot, setting = each.name.partition(".")
        if dot:
            tables.setdefault(backend, {})[setting] = each.value
    return tables


def describe(resolved: ResolvedSettings | None = None) -> list[SettingsRow]:
    """Return each setting with its value, where that came from, and what it does."""
    resolved = resolve() if resolved is None else resolved
    return [
        SettingsRow(
            each.name,
            show_value(each.name, getattr(resolved, each.name)),
            resolved.source(each.name),
            describe_value(each.name),
        )
        for each in dataclasses.fields(SettingsValues)
    ]
