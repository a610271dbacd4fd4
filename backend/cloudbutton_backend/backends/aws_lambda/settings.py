"""What a user may choose about the Lambda backend, checked, and as a schema for forms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, get_args

from cloudbutton_backend.backends.aws_lambda.names import (
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


@dataclass(frozen=True, kw_only=True)
class Settings:
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
        require_prefix(self.prefix)
        if self.arch not in get_args(Arch):
            raise UnknownName("architecture", str(self.arch), ARCHS)
        if not LEAST_MEMORY <= self.memory <= MOST_MEMORY:
            raise UsageError(
                f"`memory` must be between {LEAST_MEMORY} and {MOST_MEMORY} MiB on Lambda, not {self.memory}."
            )
        if self.workers is not None and not 1 <= self.workers <= MOST_WORKERS:
            raise UsageError(
                f"`workers` must be between 1 and {MOST_WORKERS:,}, not {self.workers:,}."
            )


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
