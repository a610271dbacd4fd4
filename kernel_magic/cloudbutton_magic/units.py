"""Numbers as a reader wants them, as the backend writes them, too."""

from __future__ import annotations

from cloudbutton_backend.units import (
    clipped,
    count,
    dollars,
    dollars_between,
    limit,
    price,
    roughly,
    seconds,
    seconds_between,
    size,
    times,
)

__all__ = [
    "clipped",
    "count",
    "dollars",
    "dollars_between",
    "limit",
    "price",
    "roughly",
    "seconds",
    "seconds_between",
    "size",
    "times",
]
