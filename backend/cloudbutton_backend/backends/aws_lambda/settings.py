"""Settings of the Lambda backend, validated."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

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
from cloudbutton_backend.settings.forms import check, setting, variable_names

MOST_WORKERS: Final = 10_000
USUAL_WORKERS: Final = 1000
"""Calls at a time that AWS allows an account at first; where it allows less, we find out."""

_REGION: Final = re.compile(r"[A-Za-z0-9]+(-[A-Za-z0-9]+)*")


@dataclass(frozen=True, kw_only=True)
class LambdaSettings:
    """The backend's settings. None: what AWS's own tools would use, or what is usual."""

    region: str | None = setting(
        None, "Region", "Such as eu-central-1. Empty: that of your AWS configuration."
    )
    memory: int = setting(
        MEMORY,
        "Memory (MiB)",
        "Of each function. One vCPU comes with every 1,769 MiB.",
        minimum=LEAST_MEMORY,
        maximum=MOST_MEMORY,
        unit="MiB",
    )
    arch: Arch = setting(
        "x86_64",
        "Processor",
        "arm64 costs a fifth less; some packages exist for x86_64 only.",
    )
    workers: int | None = setting(
        None,
        "Workers",
        "Calls at a time at most. Empty: as many as your account may have.",
        minimum=1,
        maximum=MOST_WORKERS,
    )
    prefix: str = setting(PREFIX, "Prefix", "Of the names of all that was deployed.")
    profile: str | None = setting(None, "AWS profile", "Empty: the one in use.")
    variables: str = setting(
        "",
        "Environment variables",
        "Names of those that tasks may see, beside the time zone, with commas in between.",
    )
    emulate: bool = setting(
        False,
        "Emulate",
        "Run on this machine, as if it were AWS: nothing is sent or billed.",
    )

    @property
    def task_variables(self) -> tuple[str, ...]:
        """The names of the environment variables that tasks may see."""
        return variable_names(self.variables)

    def __post_init__(self) -> None:
        variable_names(self.variables)
        check(self)
        require_prefix(self.prefix)
        if self.region and not _REGION.fullmatch(self.region):
            raise UsageError(
                f"`region` is {self.region!r}; it must be the name of an AWS region, such as `eu-central-1`."
            )
        if self.arch not in ARCHS:
            raise UnknownName("architecture", self.arch, ARCHS)
