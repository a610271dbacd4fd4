"""Validates the arguments of a request: pure functions whose errors say what would be valid."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any, Final

from cloudbutton_backend.errors import UsageError

LONGEST_TEXT: Final = 1_000
"""Characters of a search text, or of a notebook's path."""
LARGEST: Final = 2**63 - 1
"""What SQLite numbers rows with."""

_DIGITS: Final = re.compile(r"[0-9]{1,19}")


def integer(
    name: str, given: str | None, default: int, *, low: int = 0, high: int = LARGEST
) -> int:
    """Return a whole number between `low` and `high`, or the default where none was given.

    Raises
    ------
    UsageError
        It is not one.
    """
    if given is None or given == "":
        return default
    if _DIGITS.fullmatch(given) and low <= int(given) <= high:
        return int(given)
    raise UsageError(f"`{name}` must be a whole number from {low} to {high}, not {_shown(given)}.")


def text(name: str, given: str | None) -> str:
    """Return a text of bearable length, empty where none was given.

    Raises
    ------
    UsageError
        It is too long.
    """
    given = given or ""
    if len(given) > LONGEST_TEXT:
        raise UsageError(f"`{name}` must be at most {LONGEST_TEXT} characters, not {len(given)}.")
    return given


def choice(name: str, given: str | None, choices: Iterable[str]) -> str | None:
    """Return one of `choices`, or None where nothing was given.

    Raises
    ------
    UsageError
        It is none of them.
    """
    if given is None or given == "":
        return None
    known = tuple(choices)
    if given in known:
        return given
    raise UsageError(f"`{name}` must be one of {', '.join(known)}, not {_shown(given)}.")


def job_id(given: object) -> str:
    """Return a job's id.

    Raises
    ------
    UsageError
        It cannot be one.
    """
    if isinstance(given, str) and re.fullmatch(r"[a-z0-9]{1,32}", given):
        return given
    raise UsageError(f"A job's id is lower-case letters and digits, not {_shown(str(given))}.")


def json_object(body: str | bytes) -> dict[str, Any]:
    """Return the JSON object that is a request's body.

    Raises
    ------
    UsageError
        It is none.
    """
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        value = None
    if isinstance(value, dict):
        return value
    raise UsageError("The body of the request must be a JSON object.")


def _shown(given: str) -> str:
    return f"`{given[:40]}…`" if len(given) > 40 else f"`{given}`"
