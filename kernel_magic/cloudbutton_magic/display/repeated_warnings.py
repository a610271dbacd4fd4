"""Leaves out warnings that the cell has shown already, as a plain cell would."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any, Final

_HEAD: Final = re.compile(r"(?P<file>\S.*?):(?P<line>\d+): (?P<kind>\w*Warning): (?P<text>.*)")
_SOURCE: Final = re.compile(r"  \S")
_LONGEST: Final = 30
"""Lines; a warning with its text and source line is not longer."""


class RepeatedWarnings:
    """Remembers the warnings of one cell.

    Every worker is a process that has warned of nothing yet, so each of them warns.

    Parameters
    ----------
    namespace
        The notebook's, where Python notes what the cell's own code warned of in this process.
    """

    def __init__(self, namespace: Mapping[str, Any] | None = None) -> None:
        self._namespace = namespace or {}
        self._seen: set[str] = set()

    def leave_out(self, text: str) -> str:
        """Return what a task wrote to standard error without warnings shown before."""
        if "Warning: " not in text:
            return text
        return "".join(part for part, head in _parts(text) if not head or self._is_new(part, head))

    def _is_new(self, warning: str, head: re.Match[str]) -> bool:
        if warning in self._seen:
            return False
        self._seen.add(warning)
        return not self._was_shown_here(head)

    def _was_shown_here(self, head: re.Match[str]) -> bool:
        registry = self._registry_of(head["file"])
        found = (key for key in list(registry) if isinstance(key, tuple) and len(key) == 3)
        return any(
            str(text).partition("\n")[0] == head["text"]
            and kind.__name__ == head["kind"]
            and line == int(head["line"])
            for text, kind, line in found
        )

    def _registry_of(self, file: str) -> Mapping[Any, Any]:
        """Return what Python noted of the warnings of a file, or of the notebook's cells."""
        scope = self._namespace
        for module in list(sys.modules.values()):
            if getattr(module, "__file__", None) == file:
                scope = vars(module)
        registry: Mapping[Any, Any] = scope.get("__warningregistry__") or {}
        return registry


def _parts(text: str) -> Iterator[tuple[str, re.Match[str] | None]]:
    """Take a text apart into warnings, each with its first line, and what is between them.

    A warning is its first line and, if it comes soon, what follows up to the source line.
    """
    lines = text.splitlines(keepends=True)
    at = 0
    while at < len(lines):
        head, end = _HEAD.match(lines[at]), at + 1
        if head is not None:
            for next_one in range(end, min(at + _LONGEST, len(lines))):
                if _HEAD.match(lines[next_one]):
                    break
                if _SOURCE.match(lines[next_one]):
                    end = next_one + 1
                    break
        yield "".join(lines[at:end]), head
        at = end
