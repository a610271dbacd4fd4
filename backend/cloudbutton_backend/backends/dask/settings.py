"""What a user may choose about the Dask backend, checked, and as a schema for forms."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

from cloudbutton_backend.errors import UsageError

MOST_WORKERS: Final = 10_000
_TEXT: Final = (str, "text, in quotes")
_KINDS: Final[dict[str, tuple[type | tuple[type, ...], str]]] = {
    "address": _TEXT, "variables": _TEXT, "tls_ca": _TEXT, "tls_cert": _TEXT, "tls_key": _TEXT,
    "workers": (int, "a whole number"),
    "keep_results": (bool, "true or false, without quotes"),
    "worker_hour": ((int, float), "a number, of US dollars"),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class DaskSettings:
    """The backend's settings, as they may stand in a file."""

    address: str | None = None
    """Of a scheduler, `tcp://…` or `tls://…`; None for a cluster on this machine."""
    workers: int | None = None
    """Worker processes on this machine; of another cluster, the most calls at a time."""
    worker_hour: float | None = None
    """US dollars that a worker costs in an hour."""
    variables: tuple[str, ...] = ()
    """Environment variables that tasks may see, beside those that the workers have."""
    keep_results: bool = False
    """Whether results stay on the workers, too, for `job.futures()`."""
    tls_ca: str | None = None
    tls_cert: str | None = None
    tls_key: str | None = None

    def __post_init__(self) -> None:
        for name, (kind, expected) in _KINDS.items():
            value = getattr(self, name)
            if name == "variables" or value is None:
                continue
            if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
                raise UsageError(f"`{name}` is {value!r}; it must be {expected}.")
        if self.address is not None and "://" not in self.address:
            raise UsageError(
                f"`address` is {self.address!r}; it must be a scheduler's address, such as "
                f"`tcp://10.0.0.5:8786`."
            )
        if self.workers is not None and not 1 <= self.workers <= MOST_WORKERS:
            raise UsageError(
                f"`workers` must be between 1 and {MOST_WORKERS:,}, not {self.workers:,}."
            )
        if self.worker_hour is not None and not 0 <= self.worker_hour < math.inf:
            raise UsageError(
                f"`worker_hour` must be 0 US dollars or more, not {self.worker_hour:g}."
            )
        given = [name for name in ("tls_ca", "tls_cert", "tls_key") if getattr(self, name)]
        if given and len(given) < 3:
            raise UsageError(
                f"`{given[0]}` alone is not enough: TLS needs `tls_ca`, `tls_cert` and `tls_key`, "
                f"the paths of three PEM files."
            )


def names_of_variables(text: Any) -> tuple[str, ...]:
    """Return the names that stand in `text` with commas in between.

    Raises
    ------
    UsageError
        It is no text.
    """
    if not isinstance(text, str):
        raise UsageError(
            f"`variables` is {text!r}; it must be names with commas in between, in quotes."
        )
    return tuple(filter(None, (name.strip() for name in text.split(","))))


def schema() -> dict[str, Any]:
    """Return the settings as a JSON schema, for a form."""
    return {
        "type": "object",
        "properties": {
            "address": {
                "type": "string",
                "title": "Scheduler",
                "description": "Such as tcp://10.0.0.5:8786. Empty: a cluster on this machine, made "
                "when it is needed.",
            },
            "workers": {
                "type": "integer",
                "title": "Workers",
                "description": "Processes on this machine; of another cluster, calls at a time at most.",
                "minimum": 1,
                "maximum": MOST_WORKERS,
            },
            "worker_hour": {
                "type": "number",
                "title": "Price of a worker-hour",
                "description": "In US dollars. Empty: work is free.",
                "minimum": 0,
            },
            "variables": {
                "type": "string",
                "title": "Environment variables",
                "description": "Names of those that tasks may see, with commas in between.",
            },
            "keep_results": {
                "type": "boolean",
                "title": "Keep results on the workers",
                "description": "For job.futures(): to go on with Dask where they are.",
                "default": False,
            },
            "tls_ca": {
                "type": "string",
                "title": "TLS authority",
                "description": "Path of the certificate by which the scheduler's is checked.",
            },
            "tls_cert": {
                "type": "string",
                "title": "TLS certificate",
                "description": "Path of our own.",
            },
            "tls_key": {"type": "string", "title": "TLS key", "description": "Path of its key."},
        },
        "additionalProperties": False,
    }
