"""The price book: what AWS charges for Lambda and S3, by region, from `prices.toml`.

A region that is not in the book is priced like the most expensive one that is, and says so: an
estimate that is too high does no harm, and a budget holds.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal

from cloudbutton_backend.cost.rates import Rate

Architecture = Literal["x86_64", "arm64"]

_FILE: Final = Path(__file__).with_name("prices.toml")
_MILLION: Final = 1e6
_BILLION: Final = 1e9
_MB_PER_GB: Final = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class LambdaPrices:
    """Lambda's prices in one region for one architecture, in US dollars."""

    gb_second: float
    """For a second of a GB of memory."""
    request: float
    storage_gb_second: float
    """For a second of a GB of /tmp beyond what is free."""
    note: str | None = None
    """For the user: why these may not be the true prices."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoragePrices:
    """The prices of S3 Standard in one region, in US dollars."""

    put: float
    """For a PUT, COPY, POST or LIST."""
    get: float
    """For a GET or any other request; deleting is free."""
    gb_month: float
    note: str | None = None
    """For the user: why these may not be the true prices."""

    def cost(self, *, puts: int = 0, gets: int = 0, gb_months: float = 0.0) -> float:
        """Return what requests and storage cost."""
        return puts * self.put + gets * self.get + gb_months * self.gb_month


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceSource:
    """The source of one service's prices, and its date."""

    url: str
    published: str
    read: str
    """The day on which it was read."""


@cache
def _price_list() -> Mapping[str, Any]:
    # Its import takes longer than most jobs have to wait for anything.
    toml = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    with _FILE.open("rb") as file:
        return dict(toml.load(file))


def regions() -> tuple[str, ...]:
    """Return the regions with known Lambda prices."""
    return tuple(_price_list()["lambda"]["regions"])


def source(service: Literal["lambda", "s3"]) -> PriceSource:
    """Return where a service's prices come from."""
    entry = _price_list()[service]
    return PriceSource(
        url=entry["source"], published=str(entry["published"]), read=str(entry["read"])
    )


def _row(service: str, title: str, region: str) -> tuple[dict[str, float], str | None]:
    """Return a region's prices; of one that is not known, the highest of each with a note."""
    rows: Mapping[str, Mapping[str, Any]] = _price_list()[service]["regions"]
    if region in rows:
        return dict(rows[region]), None
    names = {name for row in rows.values() for name in row if name != "confirmed"}
    highest = {name: max(row[name] for row in rows.values()) for name in names}
    note = f"{title} prices in region {region} are not in the price book: the highest known are assumed"
    return highest, note


def lambda_prices(
    region: str, architecture: Architecture, *, gb_seconds_this_month: float = 0.0
) -> LambdaPrices:
    """Return what Lambda charges in a region.

    Parameters
    ----------
    gb_seconds_this_month
        What the account has used in this region since the month began: above some billions, the
        price falls.
    """
    row, note = _row("lambda", "Lambda", region)
    part = 1.0
    for tier in _price_list()["lambda"]["tiers"][architecture]:
        if gb_seconds_this_month >= tier["above"] * _BILLION:
            part = tier["part"]
    return LambdaPrices(
        gb_second=row[architecture] * part / _MILLION,
        request=row["requests"] / _MILLION,
        storage_gb_second=row["storage"] / _MILLION,
        note=note,
    )


def storage_prices(region: str) -> StoragePrices:
    """Return what S3 Standard charges in a region."""
    row, note = _row("s3", "S3", region)
    return StoragePrices(
        put=row["put"] / _MILLION, get=row["get"] / _MILLION, gb_month=row["gb_month"], note=note
    )


def lambda_rate(
    region: str,
    architecture: Architecture,
    memory: int,
    *,
    storage: int = 512,
    puts: int = 0,
    gets: int = 0,
    start_seconds: float | None = None,
    gb_seconds_this_month: float = 0.0,
) -> Rate:
    """Return what an invocation of a function costs.

    Parameters
    ----------
    memory, storage
        MB of memory and of /tmp that the function has.
    puts, gets
        Requests to S3 that go with an invocation, at most.
    start_seconds
        The longest that a new environment's initialisation is billed; None for the platform's limit.
    """
    price_list = _price_list()["lambda"]
    prices = lambda_prices(region, architecture, gb_seconds_this_month=gb_seconds_this_month)
    objects = storage_prices(region)
    extra = max(0, storage - price_list["free_storage_mb"])
    notes = [prices.note, objects.note if puts or gets else None]
    return Rate(
        per_second=(memory * prices.gb_second + extra * prices.storage_gb_second) / _MB_PER_GB,
        per_call=prices.request + objects.cost(puts=puts, gets=gets),
        start_seconds=price_list["longest_start_seconds"]
        if start_seconds is None
        else start_seconds,
        step=price_list["step_seconds"],
        note="; ".join(note for note in notes if note) or None,
    )
