"""Replay what tasks printed and displayed, in item order and within limits.

A warning that the cell has shown already is left out, as in a plain cell.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from cloudbutton_backend import units
from cloudbutton_backend.job_model import ItemOutcome, Output
from cloudbutton_backend.results.log_records import handle_record

MAX_TEXT: Final = 500_000
"""Characters; a notebook of more is slow to open."""
MAX_DISPLAYS: Final = 100
MAX_DISPLAY_BYTES: Final = 20_000_000


class OutputReplay:
    """Shows outputs as if the tasks had run here, up to a limit, and says what it left out.

    Parameters
    ----------
    job_has_it
        Whether the user has a job object, which keeps all outputs.
    namespace
        The notebook's, by which warnings are known that it has shown itself.
    publish
        What shows a rich output, IPython's own by default.
    max_text, max_displays, max_display_bytes
        The limits.
    """

    def __init__(
        self,
        *,
        job_has_it: bool = True,
        namespace: Mapping[str, Any] | None = None,
        publish: Callable[[dict[str, Any]], None] | None = None,
        max_text: int = MAX_TEXT,
        max_displays: int = MAX_DISPLAYS,
        max_display_bytes: int = MAX_DISPLAY_BYTES,
    ) -> None:
        self._job_has_it = job_has_it
        self._publish = publish or _publish
        self._text_left = max_text
        self._displays_left = max_displays
        self._bytes_left = max_display_bytes
        self._left_out_items: set[int] = set()
        self._left_out_size = 0
        self._line_is_open = False
        self._warnings = RepeatedWarnings(namespace)

    def play(self, outcome: ItemOutcome) -> None:
        """Show what one item left behind."""
        for output in outcome.outputs:
            if isinstance(output.data, str):
                self._write(outcome.index, output.kind, output.data)
            elif output.kind == "log":
                handle_record(output.data)
            else:
                self._display(outcome.index, output)

    def finish(self) -> None:
        """Show what was left out, if anything was."""
        if not self._left_out_size:
            return
        size = units.size(self._left_out_size)
        if self._job_has_it:
            items = units.count(len(self._left_out_items), "item")
            said = f"output of {items} left out ({size}); all of it is in `job.outcomes()`"
        else:
            said = f"{size} of output left out: more would make the notebook slow to open"
        self._end_line()
        sys.stdout.write(f"… {said}\n")

    def _write(self, index: int, kind: str, text: str) -> None:
        if kind == "stderr":
            text = self._warnings.leave_out(text)
        if not text:
            return
        shown = text[: self._text_left]
        self._text_left -= len(shown)
        if shown:
            stream = sys.stderr if kind == "stderr" else sys.stdout
            stream.write(shown)
            self._line_is_open = not shown.endswith("\n")
        if len(shown) < len(text):
            self._leave_out(index, len(text) - len(shown))

    def _display(self, index: int, output: Output) -> None:
        assert isinstance(output.data, dict)
        nbytes = sum(len(part) for part in _texts(output.data.get("data", {})))
        if self._displays_left <= 0 or nbytes > self._bytes_left:
            self._leave_out(index, nbytes)
            return
        self._displays_left -= 1
        self._bytes_left -= nbytes
        self._publish(output.data)

    def _leave_out(self, index: int, nbytes: int) -> None:
        self._left_out_items.add(index)
        self._left_out_size += nbytes

    def _end_line(self) -> None:
        if self._line_is_open:
            sys.stdout.write("\n")
            self._line_is_open = False


def _texts(bundle: dict[str, Any]) -> list[str | bytes]:
    return [part if isinstance(part, (str, bytes)) else repr(part) for part in bundle.values()]


def _publish(bundle: dict[str, Any]) -> None:
    from IPython.display import publish_display_data

    publish_display_data(bundle.get("data", {}), bundle.get("metadata") or {})


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
