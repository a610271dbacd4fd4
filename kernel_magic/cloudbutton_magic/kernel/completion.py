"""Tab completion of `%%cloud` and `%cloud`: commands, options, their values, backends, job ids."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from IPython.core.completer import (
    CompletionContext,
    SimpleCompletion,
    context_matcher,
)

from cloudbutton_backend.journal import JournalReader
from cloudbutton_backend.session import session
from cloudbutton_magic.cells.header import CELL_COMMANDS
from cloudbutton_magic.cells.options import OPTIONS
from cloudbutton_magic.commands.line_magic import COMMANDS
from cloudbutton_magic.kernel.shell_hooks import ShellHook

_MAGIC: Final = re.compile(r"^\s*(?:[\w.,\s]+=\s*)?(%%?)cloud(?:\s+|$)")
_TAKES_JOB: Final = ("show", "cancel", "retry", "explain", "report")
_LATEST: Final = 50
"""Jobs of all kernels whose ids are suggested."""


@dataclass(frozen=True)
class CompletionSources:
    """Names that only the running session knows; asked for when they are needed."""

    backends: Callable[[], Iterable[str]]
    jobs: Callable[[], Iterable[str]]
    all_jobs: Callable[[], Iterable[str]] = tuple
    """Also of other kernels, and of earlier ones."""


def suggestions(line: str, sources: CompletionSources) -> list[str]:
    """Return what may stand for the last word of `line`, a line up to the cursor.

    Nothing where Python itself completes better, as within the comprehension of a header.
    """
    magic = _MAGIC.match(line)
    if magic is None or not line[magic.end() - 1].isspace():
        return []
    words = re.split(r"\s+", line[magic.end() :])
    *before, last = words
    candidates = _for_cell if magic.group(1) == "%%" else _for_line
    return [word for word in candidates(before, last, sources) if word.startswith(last)]


def _for_cell(before: Sequence[str], last: str, sources: CompletionSources) -> Iterable[str]:
    previous = before[-1] if before else ""
    option = next((option for option in OPTIONS if option.flag == previous), None)
    if option is not None and option.parse is not None:
        return sources.backends() if option.flag == "--backend" else option.choices
    if last.startswith("-") and last != "->":
        return [option.flag for option in OPTIONS if option.flag not in before]
    return CELL_COMMANDS if not before else ()


def _for_line(before: Sequence[str], last: str, sources: CompletionSources) -> Iterable[str]:
    if not before:
        return [command.name for command in COMMANDS]
    if len(before) > 1:
        return ()
    if before[0] == "use":
        return sources.backends()
    if before[0] == "attach":
        return sources.all_jobs()
    return sources.jobs() if before[0] in _TAKES_JOB else ()


def _session_sources() -> CompletionSources:
    return CompletionSources(
        backends=lambda: session.current().backends(),
        jobs=lambda: [job.id for job in session.current().jobs()],
        all_jobs=lambda: [job.id for job in JournalReader().jobs(_LATEST)],
    )


@context_matcher()  # type: ignore[untyped-decorator]
def cloud_matcher(context: CompletionContext) -> dict[str, Any]:
    """IPython's hook: a matcher that answers on our magics' lines only."""
    line = context.text_until_cursor
    found = suggestions(line, _session_sources())
    return {
        "completions": [SimpleCompletion(text=word, type="magic") for word in found],
        "suppress": bool(found),
    }


class CompletionHook(ShellHook):
    """Adds our matcher to a shell's completer."""

    def register(self) -> None:
        if cloud_matcher not in self._shell.Completer.custom_matchers:
            self._shell.Completer.custom_matchers.append(cloud_matcher)

    def unregister(self) -> None:
        if cloud_matcher in self._shell.Completer.custom_matchers:
            self._shell.Completer.custom_matchers.remove(cloud_matcher)
