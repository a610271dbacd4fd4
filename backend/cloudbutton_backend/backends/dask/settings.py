"""Settings of the Dask backend, validated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from cloudbutton_backend.errors import UsageError
from cloudbutton_backend.settings.forms import check, setting, variable_names

MOST_WORKERS: Final = 10_000


@dataclass(frozen=True, kw_only=True)
class DaskSettings:
    """The backend's settings, as they may stand in a file."""

    address: str | None = setting(
        None,
        "Scheduler",
        "Such as tcp://10.0.0.5:8786. Empty: a cluster on this machine, made when it is needed.",
    )
    workers: int | None = setting(
        None,
        "Workers",
        "Processes on this machine; of another cluster, calls at a time at most.",
        minimum=1,
        maximum=MOST_WORKERS,
    )
    worker_hour: float | None = setting(
        None,
        "Price of a worker-hour",
        "In US dollars. Empty: work is free.",
        minimum=0,
        unit="US dollars",
    )
    variables: str = setting(
        "",
        "Environment variables",
        "Names of those that tasks may see, beside those of the workers, with commas in between.",
    )
    keep_results: bool = setting(
        False,
        "Keep results on the workers",
        "For job.futures(): to go on with Dask where they are.",
    )
    tls_ca: str | None = setting(
        None, "TLS authority", "Path of the certificate by which the scheduler's is checked."
    )
    tls_cert: str | None = setting(None, "TLS certificate", "Path of our own.")
    tls_key: str | None = setting(None, "TLS key", "Path of its key.")
    client: Any = None
    """A `distributed.Client` to use, which stays open."""
    security: Any = None
    """A `distributed.Security` to connect with; None for one of the three files."""

    @property
    def task_variables(self) -> tuple[str, ...]:
        """The names of the environment variables that tasks may see."""
        return variable_names(self.variables)

    def __post_init__(self) -> None:
        variable_names(self.variables)
        check(self)
        if self.address is not None and "://" not in self.address:
            raise UsageError(
                f"`address` is {self.address!r}; it must be a scheduler's address, such as "
                f"`tcp://10.0.0.5:8786`."
            )
        given = [name for name in ("tls_ca", "tls_cert", "tls_key") if getattr(self, name)]
        if given and len(given) < 3:
            raise UsageError(
                f"`{given[0]}` alone is not enough: TLS needs `tls_ca`, `tls_cert` and `tls_key`, "
                f"the paths of three PEM files."
            )
