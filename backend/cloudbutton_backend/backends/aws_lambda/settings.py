"""What a user may choose about the Lambda backend, checked, and as a schema for forms."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final, get_args

from cloudbutton_backend.backends.aws_lambda.resource_names import (
    ARCHS,
    LEAST_MEMORY,
    MEMORY,
    MOST_MEMORY,
    PREFIX,
    Arch,
    require_prefix,
)
from cloudbutton_backend.errors import UnknownName, UsageError

MOST_WORKERS: Final = 10_000
USUAL_WORKERS: Final = 1000
"""Calls at a time that AWS allows an account at first; where it allows less, we find out."""

_REGION: Final = re.compile(r"[A-Za-z0-9]+(-[A-Za-z0-9]+)*")
_TEXT: Final = (str, "text, in quotes")
_KINDS: Final[dict[str, tuple[type, str]]] = {
    "region": _TEXT, "prefix": _TEXT, "profile": _TEXT, "arch": _TEXT,
    "memory": (int, "a whole number, of MiB"), "workers": (int, "a whole number"),
    "emulate": (bool, "true or false, without quotes"),
}  # fmt: skip
_OPTIONAL: Final = frozenset({"region", "profile", "workers"})


@dataclass(frozen=True, kw_only=True)
class LambdaSettings:
    """The backend's settings. None: what AWS's own tools would use, or what is usual."""

    region: str | None = None
    memory: int = MEMORY
    arch: Arch = "x86_64"
    workers: int | None = None
    prefix: str = PREFIX
    profile: str | None = None
    variables: tuple[str, ...] = ()
    """Environment variables that travel, beside the time zone."""
    emulate: bool = False

    def __post_init__(self) -> None:
        for name, (kind, expected) in _KINDS.items():
            _require(name, getattr(self, name), kind, expected)
        require_prefix(self.prefix)
        if self.region and not _REGION.fullmatch(self.region):
            raise UsageError(
                f"`region` is {self.region!r}; it must be the name of an AWS region, such as `eu-central-1`."
            )
        if self.arch not in get_args(Arch):
            raise UnknownName("architecture", self.arch, ARCHS)
        if not LEAST_MEMORY <= self.memory <= MOST_MEMORY:
            raise UsageError(
                f"`memory` must be between {LEAST_MEMORY} and {MOST_MEMORY} MiB on Lambda, not {self.memory}."
            )
        if self.workers is not None and not 1 <= self.workers <= MOST_WORKERS:
            raise UsageError(
                f"`workers` must be between 1 and {MOST_WORKERS:,}, not {self.workers:,}."
            )


def names_of_variables(text: str) -> tuple[str, ...]:
    """Return the names that stand in `text` with commas in between.

    Raises
    ------
    UsageError
        It is no text.
    """
    _require("variables", text, str, "names with commas in between, in quotes")
    return tuple(filter(None, (name.strip() for name in text.split(","))))


def _require(name: str, value: Any, kind: type, expected: str) -> None:
    """Refuse what files may have: they are not checked before, and any text that is not empty is true."""
    is_unset = value is None and name in _OPTIONAL
    if not is_unset and (not isinstance(value, kind) or (kind is int and isinstance(value, bool))):
        raise UsageError(f"`{name}` is {value!r}; it must be {expected}.")


def schema() -> dict[str, Any]:
    """Return the settings as a JSON schema, for a form."""
    return {
        "type": "object",
        "properties": {
            "region": {
                "type": "string",
                "title": "Region",
                "description": "Such as eu-central-1. Empty: that of your AWS configuration.",
            },
            "memory": {
                "type": "integer",
                "title": "Memory (MiB)",
                "description": "Of each function. One vCPU comes with every 1,769 MiB.",
                "minimum": LEAST_MEMORY,
                "maximum": MOST_MEMORY,
                "default": MEMORY,
            },
            "arch": {
                "type": "string",
                "title": "Processor",
                "description": "arm64 costs a fifth less; some packages exist for x86_64 only.",
                "enum": list(ARCHS),
                "default": "x86_64",
            },
            "workers": {
                "type": "integer",
                "title": "Workers",
                "description": "Calls at a time at most. Empty: as many as your account may have.",
                "minimum": 1,
                "maximum": MOST_WORKERS,
            },
            "prefix": {
                "type": "string",
                "title": "Prefix",
                "description": "Of the names of all that was deployed.",
                "default": PREFIX,
            },
            "profile": {
                "type": "string",
                "title": "AWS profile",
                "description": "Empty: the one in use.",
            },
            "variables": {
                "type": "string",
                "title": "Environment variables",
                "description": "Names of those that tasks may see, with commas in between.",
            },
            "emulate": {
                "type": "boolean",
                "title": "Emulate",
                "description": "Run on this machine, as if it were AWS: nothing is sent or billed.",
                "default": False,
            },
        },
        "additionalProperties": False,
    }
