"""A view as HTML: self-contained, readable where a viewer strips styles and scripts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from html import escape

from cloudbutton_backend.job_model.timeline import Timeline
from cloudbutton_magic import units
from cloudbutton_magic.display.css import BARE, STYLE
from cloudbutton_magic.display.timeline import timeline_svg
from cloudbutton_magic.display.view_model import View

_MARKS = "✓✗◼"


def html_of(view: View, timeline: Timeline | None = None, *, cancel: str = "") -> str:
    """Return a view as one `<div>` with its style.

    A timeline only makes sense at the end, and `cancel`, the button of that name, only before.
    """
    name = f'<span class="cb-name">{escape(view.name)}</span>' if view.name else ""
    button = "" if view.is_final else cancel
    parts = [f'<div class="cb-head">{button}{name} {_headline(view.headline)}</div>']
    if not view.is_final:
        parts.append(_bar(view))
    parts += _each("div", "cb-failure", view.failures)
    parts += _each("div", "cb-warning", view.warnings)
    parts.append(f'<div class="cb-muted">{escape(" · ".join(view.details))}</div>')
    if view.lines:
        text = escape("\n".join(units.clipped(line, 200) for line in view.lines))
        parts.append(f'<pre class="cb-lines">{text}</pre>')
    if timeline is not None:
        parts += [timeline_svg(timeline), _axis(timeline)]
    parts += [f'<div class="cb-muted">→ {marked(hint)}</div>' for hint in view.hints]
    return card("\n".join(parts), tone=view.tone.value, label=f"Cloud job {view.name}".strip())


def card(content: str, *, tone: str = "done", label: str = "Cloud Button") -> str:
    """Frame a piece of HTML in our style."""
    return (
        f'{STYLE}<div class="cloudbutton cb-is-{tone}" role="group" '
        f'aria-label="{escape(label)}" style="{BARE}">\n{content}\n</div>'
    )


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table of plain texts."""
    head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    body = "".join(
        f"<tr>{''.join(f'<td>{marked(cell)}</td>' for cell in row)}</tr>" for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def marked(text: str) -> str:
    """Escape a text, and set what stands between backticks as code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))


def _headline(text: str) -> str:
    if text[:1] in _MARKS:
        return f'<span class="cb-mark">{text[0]}</span>{escape(text[1:])}'
    return escape(text)


def _bar(view: View) -> str:
    finished, total = view.count
    if view.done is None or total is None:
        return (
            '<div class="cb-bar cb-unknown" role="progressbar" aria-label="Progress" '
            f'aria-valuetext="{units.count(finished, "item")} so far"></div>'
        )
    failed = (
        f'<span class="cb-failed" style="width:{view.failed:.2%}"></span>' if view.failed else ""
    )
    return (
        f'<div class="cb-bar" role="progressbar" aria-label="Progress" aria-valuemin="0" '
        f'aria-valuemax="{total}" aria-valuenow="{finished}">'
        f'<span style="width:{view.done:.2%}"></span>{failed}</div>'
    )


def _axis(timeline: Timeline) -> str:
    shown = len(timeline.lanes)
    which = (
        units.count(shown, "worker")
        if shown == timeline.n_workers
        else f"{shown} of {timeline.n_workers:,} workers"
    )
    # Written by the style sheet: where that is stripped, so is the picture that this explains.
    texts = ("0 s", which, units.seconds(timeline.seconds))
    spans = "".join(f'<span data-text="{escape(text)}"></span>' for text in texts)
    return f'<div class="cb-axis cb-muted" aria-hidden="true">{spans}</div>'


def _each(tag: str, css_class: str, texts: Iterable[str]) -> list[str]:
    return [f'<{tag} class="{css_class}">{marked(text)}</{tag}>' for text in texts]
