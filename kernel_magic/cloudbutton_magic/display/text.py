"""A view as plain text: the twin of the HTML, and the line in a terminal."""

from __future__ import annotations

from cloudbutton_magic import units
from cloudbutton_magic.display.view_model import View

_BAR_WIDTH = 24


def text_of(view: View) -> str:
    """Return a view as text: one line where all went well."""
    if not view.is_final:
        return _titled(view, " · ".join([view.headline, *view.details]))
    return "\n".join(
        [
            _titled(view, view.headline),
            *(f"  {line}" for line in view.failures),
            *(f"  ! {line}" for line in view.warnings),
            *(f"  → {line}" for line in view.hints),
        ]
    )


def terminal_line(view: View, width: int) -> str:
    """Return the running line of a terminal, no wider than it is."""
    if view.done is None:
        bar = ""
    else:
        full = int((view.done + view.failed) * _BAR_WIDTH)
        bar = f"{'█' * full}{'░' * (_BAR_WIDTH - full)} "
    # The last column stays free: some terminals wrap when it is written.
    return units.clipped(_titled(view, bar + " · ".join([view.headline, *view.details])), width - 1)


def _titled(view: View, text: str) -> str:
    return f"{view.name}: {text}" if view.name else text
