"""What can go wrong in a simulated run, as data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Crash:
    """An item takes its worker down, in its first `times` runs or in all of them."""

    item: int
    times: int | None = None
    known: Literal["item", "batch", "nothing"] = "item"
    """What the backend can tell of where the worker was."""
    job: str = "job"


@dataclass(frozen=True)
class Crashes:
    """Any run of an item takes its worker down with this probability."""

    rate: float
    known: Literal["item", "batch", "nothing"] = "item"


@dataclass(frozen=True)
class Hang:
    """An item never ends; the backend gives its worker up after this many seconds."""

    item: int
    seconds: float = 5.0
    times: int | None = 1
    job: str = "job"


@dataclass(frozen=True)
class Slow:
    """An item takes `factor` times as long, in its first `times` runs or in all of them."""

    item: int
    factor: float
    times: int | None = 1
    job: str = "job"


@dataclass(frozen=True)
class Raises:
    """The user's code raises at an item, in its first `times` runs or in all of them."""

    item: int
    times: int | None = None
    job: str = "job"


@dataclass(frozen=True)
class Unreadable:
    """An item cannot be unpickled by a worker; batches with it come back whole."""

    item: int
    times: int | None = 1
    job: str = "job"


@dataclass(frozen=True)
class Stubborn:
    """An item does not react to an interrupt; its worker is killed a little later."""

    item: int
    job: str = "job"


@dataclass(frozen=True)
class Stragglers:
    """Any run of an item takes `factor` times as long, with this probability."""

    rate: float
    factor: float = 20.0


@dataclass(frozen=True)
class Throttled:
    """A batch reaches its worker late, with this probability: refused at first, and asked for again."""

    rate: float
    seconds: float = 1.0
    """Up to so late."""


@dataclass(frozen=True)
class LostResults:
    """A message with results never arrives, with this probability."""

    rate: float


@dataclass(frozen=True)
class DoubledResults:
    """A message with results arrives twice, with this probability."""

    rate: float


@dataclass(frozen=True)
class LateResults:
    """A message with results is overtaken by those after it, with this probability."""

    rate: float
    seconds: float = 0.1


@dataclass(frozen=True)
class LostCharges:
    """The price of a call is never heard of, with this probability."""

    rate: float


@dataclass(frozen=True)
class LateCharges:
    """The price of a call is heard of long after its end, with this probability."""

    rate: float
    seconds: float = 1.0


@dataclass(frozen=True)
class DearCalls:
    """A call costs the most that its lease allows, with this probability."""

    rate: float


Fault = (
    Crash
    | Crashes
    | Hang
    | Slow
    | Raises
    | Unreadable
    | Stubborn
    | Stragglers
    | Throttled
    | LostResults
    | LateResults
    | DoubledResults
    | LostCharges
    | LateCharges
    | DearCalls
)
