"""Whether workers have what the code needs, in the notebook's versions."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from cloudbutton_backend.capture.distributions import distributions, third_party

PYTHON: Final = "Python"
_SHOWN: Final = 8
"""Mismatches that a message lists."""
Versions = Mapping[str, str | None]


def notebook_versions(imports: Iterable[str]) -> dict[str, str]:
    """Return the versions in this process of Python and of what code imports."""
    found = {each.name: each.version for each in distributions(third_party(imports))}
    return {PYTHON: platform.python_version(), **found}


def mismatches(ours: Versions, theirs: Mapping[str, Versions]) -> list[str]:
    """Return a line for each version that differs, with the workers that share it.

    Of Python, the patch release may differ: what code objects look like does not change with it.
    """
    lines = []
    for name, version in ours.items():
        by_version: dict[str | None, list[str]] = {}
        for who, versions in theirs.items():
            other = versions.get(name)
            if _differs(name, version, other):
                by_version.setdefault(other, []).append(who)
        for other, whose in by_version.items():
            where = whose[0] if len(whose) == 1 else f"{whose[0]} and {len(whose) - 1} more"
            lines.append(f"{name}: {version} here, {other or 'not installed'} on {where}")
    return lines


def _differs(name: str, ours: str | None, theirs: str | None) -> bool:
    if name == PYTHON and ours and theirs:
        return ours.rpartition(".")[0] != theirs.rpartition(".")[0]
    return ours != theirs


def explain_mismatches(lines: Sequence[str], workers: str, advice: str) -> str:
    """Return the message for versions that differ.

    Parameters
    ----------
    workers
        What the lines compare this notebook with.
    advice
        What to do about it.
    """
    shown = "\n".join(f"  {line}" for line in lines[:_SHOWN])
    more = f"\n  and {len(lines) - _SHOWN} more" if len(lines) > _SHOWN else ""
    return (
        f"This notebook and {workers} do not have the same versions:\n{shown}{more}\n"
        f"Nothing was run. {advice}"
    )
