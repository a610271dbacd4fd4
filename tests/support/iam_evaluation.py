"""Would a policy allow a request? As much of IAM's language as our policies use. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any


def allows(
    policy: Mapping[str, Any],
    action: str,
    resource: str,
    context: Mapping[str, str] | None = None,
) -> bool:
    """Return whether `policy` allows `action` on `resource`: some statement does, and none denies it."""
    effects = {
        statement["Effect"]
        for statement in _listed(policy["Statement"])
        if _matches_any(_listed(statement["Action"]), action, ignore_case=True)
        and _matches_any(_listed(statement["Resource"]), resource)
        and _holds(statement.get("Condition", {}), context or {})
    }
    return effects == {"Allow"}


def actions(policy: Mapping[str, Any]) -> frozenset[str]:
    """Return every action that a statement of the policy names."""
    return frozenset(
        action
        for statement in _listed(policy["Statement"])
        for action in _listed(statement["Action"])
    )


def _matches_any(patterns: Iterable[str], text: str, *, ignore_case: bool = False) -> bool:
    flags = re.IGNORECASE if ignore_case else 0
    return any(re.fullmatch(_as_expression(each), text, flags | re.DOTALL) for each in patterns)


def _as_expression(pattern: str) -> str:
    return re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")


def _holds(conditions: Mapping[str, Mapping[str, Any]], context: Mapping[str, str]) -> bool:
    """Return whether all conditions hold; a key that the request does not have is not equal to anything.

    Raises
    ------
    ValueError
        A condition of a kind that is not known here.
    """
    for operator, wanted in conditions.items():
        if operator not in ("StringEquals", "StringLike"):
            raise ValueError(f"unknown condition {operator}")
        for key, values in wanted.items():
            if key not in context:
                return False
            known = context[key]
            exact = operator == "StringEquals"
            if not (known in _listed(values) if exact else _matches_any(_listed(values), known)):
                return False
    return True


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]
