"""The capture report: every captured name, its size and how it travels, as a readable table."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, Literal

from cloudbutton_backend.capture.distributions import Distribution, distributions, quick_version

Travels = Literal["call", "blob", "code", "reference"]


@dataclass(frozen=True)
class CapturedValue:
    """One captured name."""

    name: str
    """As the user knows it: `X`, `helpers.RATE`, `lr (default of fit)`."""
    type_name: str
    nbytes: int
    """What travels; about, for small values: they are not measured one by one."""
    travels: Travels
    package: str = ""
    """For what travels by reference: the package that the worker imports."""
    mutable: bool = False
    """Whether an item could change it in place, unseen by the other items."""

    @property
    def how(self) -> str:
        """The way it travels, in words."""
        if self.travels == "blob":
            return "blob, sent once"
        if self.travels == "reference":
            version = quick_version(self.package)
            return f"by reference: {self.package} {version}".rstrip()
        return "code, in the call" if self.travels == "code" else "in the call"


@dataclass(frozen=True)
class CaptureReport:
    """Lists what a function takes along to a worker."""

    function: str
    values: tuple[CapturedValue, ...]
    """In the order the code mentions them."""
    payload_nbytes: int
    """The call itself: code and small values."""
    blobs_nbytes: int
    """All large values together, each counted once."""
    packages: tuple[str, ...]
    """Import names of the installed packages that the code needs."""
    user_modules: tuple[str, ...]
    """The user's own modules that travel by value."""
    cache: tuple[str, ...] = ()
    """What results are found by in the cache, line by line; empty where nothing is looked for."""

    @functools.cached_property
    def distributions(self) -> tuple[Distribution, ...]:
        """The installed distributions behind `packages`; looked up when first asked for."""
        return distributions(self.packages)

    @property
    def mutable(self) -> tuple[str, ...]:
        """The names of captured values that an item could change in place."""
        return tuple(value.name for value in self.values if value.mutable)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON-able data; versions as the packages themselves state them."""
        return {
            "function": self.function,
            "payload_nbytes": self.payload_nbytes,
            "blobs_nbytes": self.blobs_nbytes,
            "values": [
                {
                    "name": value.name,
                    "type": value.type_name,
                    "nbytes": value.nbytes,
                    "travels": value.travels,
                    "how": value.how,
                    "mutable": value.mutable,
                }
                for value in self.values
            ],
            "packages": {name: quick_version(name) for name in self.packages},
            "user_modules": list(self.user_modules),
            "cache": list(self.cache),
        }

    def __str__(self) -> str:
        rows = [("name", "type", "size", "how it travels")]
        for value in self.values:
            nbytes = "" if value.travels == "reference" else size(value.nbytes)
            rows.append((value.name, value.type_name, nbytes, value.how))
        lines = [self._headline()]
        if self.values:
            lines += ["", *_table(rows)]
        lines.append("")
        if self.user_modules:
            lines.append(f"Your own modules, by value: {', '.join(self.user_modules)}")
        needs = ", ".join(f"{name} {version}" for name, version in self.distributions)
        lines.append(f"Installed packages needed: {needs or 'none'}")
        if self.cache:
            lines += [
                "",
                "Results are found in the cache by",
                *(f"  {line}" for line in self.cache),
            ]
        return "\n".join(lines)

    def _headline(self) -> str:
        text = f"{self.function} travels in {size(self.payload_nbytes)}"
        if self.blobs_nbytes:
            text += f", and {size(self.blobs_nbytes)} of large values are sent once"
        return text + "."


def size(nbytes: int) -> str:
    """Return a number of bytes as people read it: ``200 MB``."""
    if nbytes < 1000:
        return f"{nbytes} B"
    number = float(nbytes)
    units = iter(("kB", "MB", "GB", "TB"))
    unit = ""
    while number >= 999.5:
        number, unit = number / 1000, next(units)
    return f"{number:.1f} {unit}" if number < 9.95 else f"{number:.0f} {unit}"


def _table(rows: list[tuple[str, str, str, str]]) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    return [
        f"  {row[0]:<{widths[0]}}  {row[1]:<{widths[1]}}  {row[2]:>{widths[2]}}  {row[3]}".rstrip()
        for row in rows
    ]
