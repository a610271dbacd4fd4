"""Settings of the SSH backend, validated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cloudbutton_backend.errors import UsageError
from cloudbutton_backend.settings.forms import check, setting, variable_names
from cloudbutton_backend.worker.pool.pool import MAX_WORKERS


@dataclass(frozen=True, kw_only=True)
class SshSettings:
    """The backend's settings."""

    hosts: str | Sequence[str] = setting(
        "", "Machines", "As ssh takes them, such as alice@big1, with commas in between."
    )
    python: str | None = setting(
        None,
        "Python there",
        "Name or path of the interpreter. Empty: the first one found of this notebook's version.",
    )
    workers: int | None = setting(
        None,
        "Workers",
        "Processes on each machine. Empty: as many as there are usable CPUs.",
        minimum=1,
        maximum=MAX_WORKERS,
    )
    variables: str = setting(
        "",
        "Environment variables",
        "Names of those of the notebook that tasks may see, with commas in between.",
    )
    grace: float = setting(
        900.0,
        "Grace period",
        "How long items go on there after the connection broke, while it is made again.",
        minimum=1,
        unit="seconds",
    )
    config: str | None = setting(
        None, "ssh configuration", "Path of a file for `ssh -F`. Empty: your usual configuration."
    )

    def __post_init__(self) -> None:
        if isinstance(self.hosts, (list, tuple)):
            object.__setattr__(self, "hosts", ", ".join(map(str, self.hosts)))
        check(self)
        variable_names(self.variables)
        for target in self.targets:
            if target[0] in "-@" or target[-1] == "@" or any(map(str.isspace, target)):
                raise UsageError(
                    f"`{target}` is no name of a machine; expected what ssh takes, such as `alice@big1`."
                )

    @property
    def targets(self) -> tuple[str, ...]:
        """The machines, each once."""
        names = map(str.strip, str(self.hosts).split(","))
        return tuple(dict.fromkeys(filter(None, names)))
