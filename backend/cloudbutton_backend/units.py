"""Numbers as people read them: counts, times, sizes, money.

`labextension/src/format.ts` words them the same; both are tested with the cases of `tests/wording.json`.
"""

from __future__ import annotations

import math
import re
from typing import Final

from cloudbutton_backend.job_model import Estimate, Expectation

_CONTROLS: Final = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]|[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]"
)


def count(number: int, noun: str = "") -> str:
    """Return `1 item`, `200 items`, `100,000 items`."""
    if not noun:
        return f"{number:,}"
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def seconds(value: float) -> str:
    """Return `250 µs`, `85 ms`, `0.34 s`, `12.4 s`, `3 min 20 s`, `2 h 05 min` or `3 d 04 h`."""
    if 0 < value < 0.00095:
        return f"{value * 1e6:.0f} µs"
    if value < 0.0995:
        return f"{value * 1000:.0f} ms"
    if value < 0.995:
        return f"{value:.2f} s"
    if value < 59.95:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} h {minutes:02d} min"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours:02d} h"


def roughly(value: float) -> str:
    """Return a time to go without decimals, which would flicker and promise too much."""
    if value < 1:
        return "under 1 s"
    return f"about {seconds(value) if value >= 60 else f'{value:.0f} s'}"


def dollars(value: float) -> str:
    """Return `$0.00`, `$0.00042`, `$0.0042` or `$1.23`."""
    if 0 < value < 0.01:
        return "<$0.0001" if value < 0.0001 else f"${value:.2g}"
    return f"${value:,.2f}"


def limit(value: float) -> str:
    """Return a budget as it was set, such as `$0.012` or `$5.00`."""
    if value < 0.01:
        return dollars(value)
    whole, _, rest = f"{value:,.4f}".partition(".")
    return f"${whole}.{rest.rstrip('0').ljust(2, '0')}"


def price(estimate: Estimate) -> str:
    """Return `about $0.29 ($0.25 to $0.35)`."""
    interval = f"{dollars(estimate.low)} to {dollars(estimate.high)}"
    return f"about {dollars(estimate.expected)} ({interval})"


def dollars_between(money: Expectation) -> str:
    """Return `$0.21 ($0.18–0.26)`, to two digits that count, or `free`."""
    if money.high <= 0:
        return "free"
    expected, low, high = map(_two_digits, (money.expected, money.low, money.high))
    return f"${expected} (${low}–{high})"


def _two_digits(value: float) -> str:
    if value >= 1 or value <= 0:
        return f"{value:,.2f}"
    return (
        f"{value:.{min(8, 1 - math.floor(math.log10(value)))}f}" if value < 0.1 else f"{value:.2f}"
    )


def seconds_between(time: Expectation) -> str:
    """Return `11.2 s (9.0–14.1 s)` or `6 min 02 s (5.2–8.0 min)`."""
    if time.low >= 60:
        return f"{seconds(time.expected)} ({_minutes(time.low)}–{_minutes(time.high)} min)"
    low, high = seconds(time.low), seconds(time.high)
    if low.partition(" ")[2] == high.partition(" ")[2]:  # both `s`, or both `ms`
        low = low.partition(" ")[0]
    return f"{seconds(time.expected)} ({low}–{high})"


def _minutes(value: float) -> str:
    return f"{value / 60:.1f}" if value < 600 else f"{value / 60:,.0f}"


def times(factor: float) -> str:
    """Return `1.9×` or `14×`."""
    return f"{factor:.1f}×" if factor < 9.95 else f"{factor:,.0f}×"


def size(nbytes: float) -> str:
    """Return `812 B`, `3.1 MB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if nbytes < 999.5:
            digits = 0 if unit == "B" or nbytes >= 99.5 else 1
            return f"{nbytes:.{digits}f} {unit}"
        nbytes /= 1000
    return f"{nbytes:,.1f} TB"


def clipped(text: str, width: int) -> str:
    """Return one line of at most `width` characters."""
    line = printable(" ".join(text.split()))
    return line if len(line) <= width else line[: max(width - 1, 0)] + "…"


def printable(text: str) -> str:
    """Return text as a terminal may have it: without colours, other control characters escaped."""
    return _CONTROLS.sub(lambda found: "" if len(found[0]) > 1 else repr(found[0])[1:-1], text)
