"""Every setting there is: its type, its default, what it does, and how its text is read."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal

from cloudbutton_backend.settings import parse


def _setting(
    default: Any,
    description: str,
    read: Callable[[Any], Any],
    show: Callable[[Any], str] = str,
    *,
    optional: bool = False,
) -> Any:
    metadata = {"description": description, "read": read, "show": show, "optional": optional}
    return dataclasses.field(default=default, metadata=metadata)


def _one_of(*choices: str) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        if value in choices:
            return str(value)
        raise ValueError("one of " + ", ".join(f"`{choice}`" for choice in choices))

    return read


def _show_flag(value: bool) -> str:
    return "true" if value else "false"


@dataclass(frozen=True, kw_only=True)
class SettingsValues:
    """The values that hold for one job, or for this process."""

    backend: str = _setting("local", "where jobs run", parse.name)
    workers: int | None = _setting(
        None, "at most this many workers; none: as many as suit", parse.count, optional=True
    )
    memory: int | None = _setting(
        None, "MiB per worker, where it can be chosen or limited", parse.mebibytes, optional=True
    )
    timeout: float | None = _setting(
        None, "how long one item may run", parse.seconds, parse.show_seconds, optional=True
    )
    retries: int = _setting(
        0, "how often an item whose own code failed is tried again", parse.whole
    )
    errors: Literal["raise", "keep"] = _setting(
        "raise", "stop at the first failed item, or keep the errors", _one_of("raise", "keep")
    )
    budget: float | None = _setting(
        None, "US dollars one job may cost", parse.dollars, optional=True
    )
    budget_per_day: float | None = _setting(
        None, "US dollars all jobs of a day may cost together", parse.dollars, optional=True
    )
    backup: bool = _setting(True, "run stragglers twice on idle workers", parse.flag, _show_flag)
    guard: Literal["off", "warn"] = _setting(
        "warn", "when a task changed a captured value", _one_of("off", "warn")
    )
    view: Literal["auto", "html", "text", "none"] = _setting(
        "auto", "how a running job is shown", _one_of("auto", "html", "text", "none")
    )
    prewarm: bool = _setting(
        True, "start local workers before the first job", parse.flag, _show_flag
    )
    threshold_bytes: int = _setting(
        65_536, "larger captured values are sent once and shared", parse.size, parse.show_size
    )
    results_max_bytes: int = _setting(
        5_000_000_000, "kept on disk of all jobs together", parse.size, parse.show_size
    )
    attach_max_bytes: int = _setting(
        2_000_000_000,
        "what one job writes to disk to be continued when its kernel has died",
        parse.size,
        parse.show_size,
    )
    results_max_age: float = _setting(
        30 * 86_400.0, "how long finished jobs are kept", parse.seconds, parse.show_seconds
    )


FIELDS: Final = {field.name: field for field in dataclasses.fields(SettingsValues)}


def read_value(name: str, value: Any) -> Any:
    """Return `value` as the setting `name` keeps it.

    Raises
    ------
    ValueError
        It does not fit; the message says what would.
    """
    metadata = FIELDS[name].metadata
    if metadata["optional"] and value in (None, "", "none"):
        return None
    return metadata["read"](value)


def show_value(name: str, value: Any) -> str:
    """Return `value` as a person would write it; `read_value` reads it back."""
    return "none" if value is None else str(FIELDS[name].metadata["show"](value))


def describe_value(name: str) -> str:
    """Return what the setting `name` does, in a line."""
    return str(FIELDS[name].metadata["description"])
