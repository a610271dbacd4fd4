"""Every general setting: its type, its default, what it does, and how its text is read."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

from cloudbutton_backend.settings import parse


class ValueKind(NamedTuple):
    """A type of setting: how its values are read, written, and edited in a form."""

    form: str
    """What a form shows for it."""
    read: Callable[[Any], Any]
    show: Callable[[Any], str] = str
    choices: tuple[str, ...] = ()


_NAME: Final = ValueKind("string", parse.name)
_COUNT: Final = ValueKind("integer", parse.count)
_WHOLE: Final = ValueKind("integer", parse.whole)
_MEMORY: Final = ValueKind("memory", parse.mebibytes)
_DOLLARS: Final = ValueKind("money", parse.dollars)
_SECONDS: Final = ValueKind("duration", parse.seconds, parse.show_seconds)
_SIZE: Final = ValueKind("size", parse.size, parse.show_size)
_FLAG: Final = ValueKind("boolean", parse.flag, lambda value: "true" if value else "false")


def _one_of(*choices: str) -> ValueKind:
    return ValueKind("choice", lambda value: parse.choice(value, choices), choices=choices)


def _setting(default: Any, kind: ValueKind, description: str) -> Any:
    return dataclasses.field(default=default, metadata={"kind": kind, "description": description})


@dataclass(frozen=True, kw_only=True)
class SettingsValues:
    """The values that hold for one job, or for this process. None: not limited, not chosen."""

    backend: str = _setting("local", _NAME, "where jobs run")
    workers: int | None = _setting(None, _COUNT, "at most this many workers; none: as many as suit")
    memory: int | None = _setting(
        None, _MEMORY, "MiB per worker, where it can be chosen or limited"
    )
    timeout: float | None = _setting(None, _SECONDS, "how long one item may run")
    retries: int = _setting(0, _WHOLE, "how often an item whose own code failed is tried again")
    errors: Literal["raise", "keep"] = _setting(
        "raise", _one_of("raise", "keep"), "stop at the first failed item, or keep the errors"
    )
    budget: float | None = _setting(None, _DOLLARS, "US dollars one job may cost")
    budget_per_day: float | None = _setting(
        None, _DOLLARS, "US dollars all jobs of a day may cost together"
    )
    backup: bool = _setting(True, _FLAG, "run stragglers twice on idle workers")
    guard: Literal["off", "warn"] = _setting(
        "warn", _one_of("off", "warn"), "when a task changed a captured value"
    )
    view: Literal["auto", "html", "text", "none"] = _setting(
        "auto", _one_of("auto", "html", "text", "none"), "how a running job is shown"
    )
    prewarm: bool = _setting(True, _FLAG, "start local workers before the first job")
    threshold_bytes: int = _setting(
        65_536, _SIZE, "larger captured values are sent once and shared"
    )
    results_max_bytes: int = _setting(5_000_000_000, _SIZE, "kept on disk of all jobs together")
    attach_max_bytes: int = _setting(
        2_000_000_000,
        _SIZE,
        "what one job writes to disk to be continued when its kernel has died",
    )
    results_max_age: float = _setting(30 * 86_400.0, _SECONDS, "how long finished jobs are kept")


FIELDS: Final = {field.name: field for field in dataclasses.fields(SettingsValues)}


def kind_of(name: str) -> ValueKind:
    """Return how values of the setting `name` are read, written and edited."""
    kind: ValueKind = FIELDS[name].metadata["kind"]
    return kind


def read_value(name: str, value: Any) -> Any:
    """Return `value` as the setting `name` keeps it.

    Raises
    ------
    ValueError
        It does not fit; the message says what would.
    """
    if FIELDS[name].default is None and value in (None, "", "none"):
        return None
    return kind_of(name).read(value)


def show_value(name: str, value: Any) -> str:
    """Return `value` as a person would write it; `read_value` reads it back."""
    return "none" if value is None else kind_of(name).show(value)


def describe_value(name: str) -> str:
    """Return what the setting `name` does, in a line."""
    return str(FIELDS[name].metadata["description"])
