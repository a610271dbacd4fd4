"""Parses what people write ("2 GB", "90 s", "on") into values, and formats values."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any, Final

_NUMBER: Final = re.compile(r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*([A-Za-zµ]*)\s*")

#: Bytes per unit; a size is shown in the first one that divides it.
SIZES: Final = {
    "TB": 10**12, "GB": 10**9, "MB": 10**6, "kB": 10**3,
    "TiB": 2**40, "GiB": 2**30, "MiB": 2**20, "KiB": 2**10, "B": 1,
}  # fmt: skip

#: Seconds per unit; the first spelling of a length of time is the one shown.
TIMES: Final = {
    "days": 86_400.0, "h": 3_600.0, "min": 60.0, "s": 1.0, "ms": 1e-3,
    "d": 86_400.0, "day": 86_400.0, "hour": 3_600.0, "hours": 3_600.0, "m": 60.0,
    "minute": 60.0, "minutes": 60.0, "sec": 1.0, "second": 1.0, "seconds": 1.0,
}  # fmt: skip

_TRUE: Final = frozenset({"true", "on", "yes", "1"})
_FALSE: Final = frozenset({"false", "off", "no", "0"})

_SIZES_BY_SPELLING: Final = {unit.lower(): nbytes for unit, nbytes in SIZES.items()}


def size(value: Any) -> int:
    """Return bytes: a whole number, or text such as ``"5 GB"`` or ``"64 KiB"``."""
    if isinstance(value, str):
        number, unit = _split(value)
        scale = _SIZES_BY_SPELLING.get(unit.lower() or "b")
        if scale is None:
            raise ValueError(f"a size such as `5 GB` or `64 KiB`, not the unit `{unit}`")
        value = round(number * scale) if math.isfinite(number) else number
    return _whole(value, "a size such as `5 GB`, zero or more", at_least=0)


def seconds(value: Any) -> float:
    """Return seconds: a number, or text such as ``"90 s"``, ``"1.5 h"`` or ``"30 days"``."""
    if isinstance(value, str):
        number, unit = _split(value)
        scale = TIMES.get(unit.lower() or "s")
        if scale is None:
            raise ValueError(f"a length of time such as `90 s` or `30 days`, not the unit `{unit}`")
        value = number * scale
    return _positive(value, "a length of time such as `90 s`, more than zero")


def count(value: Any) -> int:
    """Return a whole number of one or more."""
    return _whole(_number(value), "a whole number, one or more", at_least=1)


def whole(value: Any) -> int:
    """Return a whole number of zero or more."""
    return _whole(_number(value), "a whole number, zero or more", at_least=0)


def dollars(value: Any) -> float:
    """Return an amount of money: a number, or text such as ``"$0.50"``."""
    expected = "an amount in US dollars such as `0.50`, zero or more"
    if isinstance(value, str):
        value = value.strip().lstrip("$")
    amount = _number(value, expected)
    if not (math.isfinite(amount) and amount >= 0):
        raise ValueError(expected)
    return amount


def mebibytes(value: Any) -> int:
    """Return MiB: a whole number of them, or text with a unit such as ``"2 GiB"``."""
    if isinstance(value, str) and _split(value)[1]:
        return max(1, size(value) // 2**20)
    return count(value)


def flag(value: Any) -> bool:
    """Return a truth value: true or false, or text such as ``"on"``."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().lower() in _TRUE | _FALSE:
        return value.strip().lower() in _TRUE
    raise ValueError("`true` or `false`")


def name(value: Any) -> str:
    """Return a name, which is not empty."""
    if isinstance(value, str) and value.strip():
        return value.strip()
    raise ValueError("a name")


def choice(value: Any, choices: Sequence[str]) -> str:
    """Return one of `choices`."""
    if value in choices:
        return str(value)
    raise ValueError("one of " + ", ".join(f"`{each}`" for each in choices))


def show_size(nbytes: int) -> str:
    """Return text that `size` reads as the same number."""
    for unit, scale in SIZES.items():
        if nbytes >= scale and nbytes % scale == 0:
            return f"{nbytes // scale} {unit}"
    return f"{nbytes} B"


def show_seconds(duration: float) -> str:
    """Return text that `seconds` reads as the same length of time."""
    for unit in ("days", "h", "min"):
        if duration >= TIMES[unit] and duration % TIMES[unit] == 0:
            return f"{duration / TIMES[unit]:.0f} {unit}"
    return f"{duration!r} s".replace(".0 s", " s")


def _split(text: str) -> tuple[float, str]:
    match = _NUMBER.fullmatch(text)
    if match is None:
        raise ValueError("a number with a unit, such as `5 GB` or `90 s`")
    digits = match[1]
    return (int(digits) if digits.lstrip("+-").isdigit() else float(digits)), match[2]


def _number(value: Any, expected: str = "a number") -> float:
    if isinstance(value, str):
        if _NUMBER.fullmatch(value) is None:
            raise ValueError(expected)
        number, unit = _split(value)
        if unit:
            raise ValueError(f"{expected} without a unit")
        return number
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(expected)
    return value


def _whole(value: Any, expected: str, *, at_least: int) -> int:
    number = _number(value, expected)
    if not math.isfinite(number) or number != int(number) or number < at_least:
        raise ValueError(expected)
    return int(number)


def _positive(value: Any, expected: str) -> float:
    number = float(_number(value, expected))
    if not math.isfinite(number) or number <= 0:
        raise ValueError(expected)
    return number
