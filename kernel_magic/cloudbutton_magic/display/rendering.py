"""Render a view as HTML or text, and small tables for line commands.

The HTML is self-contained, and readable where a viewer strips styles and scripts.
Its colours come from JupyterLab's or VS Code's variables where they exist.
Elsewhere they follow `prefers-color-scheme` (and Colab's own mark), together with the background, so that
text can be read even where the page ignores the system's scheme.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

from cloudbutton_backend import units
from cloudbutton_backend.job_model import BatchRecord
from cloudbutton_backend.job_model.timeline import BATCH_KINDS, Timeline, timeline_of
from cloudbutton_magic.display.view_model import View

_LIGHT: Final = """
--cb-f0:#1f2328;--cb-m0:#59636e;--cb-b0:#ffffff;--cb-l0:#d1d9e0;--cb-t0:#e8ecf0;
--cb-a0:#1f6feb;--cb-g0:#1a7f37;--cb-r0:#cf222e;--cb-y0:#9a6700;
"""
_DARK: Final = """
--cb-f0:#e6edf3;--cb-m0:#9198a1;--cb-b0:#15191f;--cb-l0:#3d444d;--cb-t0:#2a313c;
--cb-a0:#4493f8;--cb-g0:#3fb950;--cb-r0:#f85149;--cb-y0:#d29922;
"""

_SHEET: Final = f"""
.cloudbutton{{{_LIGHT}
--cb-fg:var(--jp-content-font-color1,var(--vscode-editor-foreground,var(--cb-f0)));
--cb-muted:var(--jp-content-font-color2,var(--vscode-descriptionForeground,var(--cb-m0)));
--cb-bg:var(--jp-layout-color0,var(--vscode-editor-background,var(--cb-b0)));
--cb-line:var(--jp-border-color2,var(--vscode-panel-border,var(--cb-l0)));
--cb-track:var(--jp-layout-color2,var(--vscode-editorWidget-background,var(--cb-t0)));
--cb-accent:var(--jp-brand-color1,var(--vscode-progressBar-background,var(--cb-a0)));
--cb-good:var(--jp-success-color1,var(--vscode-testing-iconPassed,var(--cb-g0)));
--cb-bad:var(--jp-error-color1,var(--vscode-editorError-foreground,var(--cb-r0)));
--cb-warn:var(--jp-warn-color1,var(--vscode-editorWarning-foreground,var(--cb-y0)));
box-sizing:border-box;max-width:50em;margin:2px 0;padding:8px 12px!important;
border:1px solid var(--cb-line);border-left:3px solid var(--cb-tone)!important;border-radius:4px;
background:var(--cb-bg);color:var(--cb-fg);--cb-tone:var(--cb-accent);
font:13px/1.5 var(--jp-ui-font-family,system-ui,-apple-system,"Segoe UI",sans-serif)}}
@media (prefers-color-scheme:dark){{.cloudbutton{{{_DARK}}}}}
html[theme=dark] .cloudbutton{{{_DARK}}}
html[theme=light] .cloudbutton{{{_LIGHT}}}
.cloudbutton.cb-is-done{{--cb-tone:var(--cb-good)}}
.cloudbutton.cb-is-failed{{--cb-tone:var(--cb-bad)}}
.cloudbutton.cb-is-cancelled{{--cb-tone:var(--cb-warn)}}
.cloudbutton .cb-head{{font-variant-numeric:tabular-nums;overflow-wrap:anywhere}}
.cloudbutton .cb-name{{font-weight:600;margin-right:.6em}}
.cloudbutton .cb-cancel{{float:right;margin:0 0 0 1em;padding:1px 10px;border:1px solid var(--cb-line);
border-radius:3px;background:var(--cb-bg);color:var(--cb-fg);font:inherit;font-size:12px;cursor:pointer}}
.cloudbutton .cb-cancel[hidden]{{display:none}}
.cloudbutton .cb-cancel:hover,.cloudbutton .cb-cancel:focus-visible{{border-color:var(--cb-bad);
color:var(--cb-bad)}}
.cloudbutton .cb-mark{{color:var(--cb-tone);font-weight:700}}
.cloudbutton .cb-muted{{color:var(--cb-muted);font-size:12px;font-variant-numeric:tabular-nums}}
.cloudbutton .cb-bar{{display:flex;height:6px;margin:6px 0 5px;border-radius:3px;overflow:hidden;
background:var(--cb-track)}}
.cloudbutton .cb-bar>span{{display:block;height:100%;background:var(--cb-accent)}}
.cloudbutton .cb-bar>span.cb-failed{{background:var(--cb-bad);min-width:3px}}
.cloudbutton .cb-bar.cb-unknown{{background:repeating-linear-gradient(-45deg,var(--cb-track) 0 8px,
transparent 8px 14px)}}
.cloudbutton pre.cb-lines{{margin:6px 0 0;padding:0;max-height:7.5em;overflow:hidden;border:0;
background:none;color:var(--cb-muted);white-space:pre-wrap;overflow-wrap:anywhere;
font:12px/1.45 var(--jp-code-font-family,ui-monospace,Menlo,Consolas,monospace)}}
.cloudbutton .cb-failure{{color:var(--cb-bad);overflow-wrap:anywhere}}
.cloudbutton .cb-warning{{color:var(--cb-warn);overflow-wrap:anywhere}}
.cloudbutton code{{padding:0 3px;border-radius:3px;background:var(--cb-track);color:var(--cb-fg);
font:12px/1.4 var(--jp-code-font-family,ui-monospace,Menlo,Consolas,monospace)}}
.cloudbutton .cb-timeline{{display:block;width:100%;max-height:110px;margin:7px 0 1px;
border-radius:2px}}
.cloudbutton .cb-timeline .cb-lane{{fill:var(--cb-track)}}
.cloudbutton .cb-timeline .cb-done{{fill:var(--cb-accent)}}
.cloudbutton .cb-timeline .cb-failed{{fill:var(--cb-bad)}}
.cloudbutton .cb-timeline .cb-lost{{fill:var(--cb-warn)}}
.cloudbutton .cb-axis{{display:flex;justify-content:space-between}}
.cloudbutton .cb-axis span::before{{content:attr(data-text)}}
.cloudbutton table{{border-collapse:collapse;margin:4px 0;font-size:12px;color:inherit}}
.cloudbutton th,.cloudbutton td{{padding:2px 14px 2px 0;text-align:left!important;
vertical-align:top;border:0;background:none;color:inherit;font-variant-numeric:tabular-nums}}
.cloudbutton tr{{background:none!important}}
.cloudbutton th{{color:var(--cb-muted);font-weight:500}}
"""

STYLE: Final = f"<style>{re.sub(chr(10), '', _SHEET)}</style>"
"""One `<style>` element, without line breaks; it goes into every output, as each must stand alone."""

BARE: Final = "border-left:3px solid #8b949e;padding:4px 12px"
"""What the frame is where the sheet was stripped (a notebook that is not trusted): a quiet margin."""


_MARKS: Final = "✓✗◼"


def html_of(view: View, timeline: Timeline | None = None, *, cancel: str = "") -> str:
    """Return a view as one `<div>` with its style.

    A timeline only makes sense at the end, and `cancel`, the button of that name, only before.
    """
    name = f'<span class="cb-name">{escape(view.name)}</span>' if view.name else ""
    button = "" if view.is_final else cancel
    parts = [f'<div class="cb-head">{button}{name} {_headline(view.headline)}</div>']
    if not view.is_final:
        parts.append(_progress_bar(view))
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


def _progress_bar(view: View) -> str:
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


_BAR_WIDTH: Final = 24


def text_of(view: View) -> str:
    """Return a view as text: one line where all went well."""
    if not view.is_final:
        return units.printable(_titled(view, " · ".join([view.headline, *view.details])))
    lines = [
        _titled(view, view.headline),
        *(f"  {line}" for line in view.failures),
        *(f"  ! {line}" for line in view.warnings),
        *(f"  → {line}" for line in view.hints),
    ]
    return units.printable("\n".join(lines))


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


@dataclass(frozen=True, repr=False)
class Table:
    """Rows of text under a header, as text and as HTML."""

    title: str
    header: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    notes: Sequence[str] = ()

    def __repr__(self) -> str:
        lines = [self.header, *self.rows] if self.rows else []
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        drawn = [
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
            for line in lines
        ]
        return "\n".join([self.title, *(f"  {line}" for line in drawn), *self.notes])

    def _repr_html_(self) -> str:
        parts = [f'<div class="cb-head">{marked(self.title)}</div>']
        if self.rows:
            parts.append(table(self.header, self.rows))
        parts += [f'<div class="cb-muted">{marked(note)}</div>' for note in self.notes]
        return card("\n".join(parts), tone="running", label=self.title)


_STEPS: Final = 200
_LANES: Final = 12
_LANE: Final = 7
_GAP: Final = 2


def summary_timeline(batches: Sequence[BatchRecord]) -> Timeline | None:
    """Return the timeline of the summary under a cell; None without batches."""
    return timeline_of(batches, steps=_STEPS, lanes=_LANES)


def timeline_svg(timeline: Timeline) -> str:
    """Draw a timeline; colours come from the classes, set by the page around it.

    There is no text inside, because viewers that drop SVG from untrusted notebooks keep its text.
    """
    bars = {"lane": "".join(_bar(row, 0, timeline.steps) for row in range(len(timeline.lanes)))}
    for kind in BATCH_KINDS:
        bars[kind] = "".join(
            _bar(row, each.first, each.stop)
            for row, (_, lane) in enumerate(timeline.lanes)
            for each in lane
            if each.kind == kind
        )
    shapes = "".join(f'<path class="cb-{name}" d="{path}"/>' for name, path in bars.items() if path)
    height = len(timeline.lanes) * (_LANE + _GAP) - _GAP
    label = f"Timeline of {timeline.n_workers} workers over {timeline.seconds:.1f} seconds"
    return (
        f'<svg class="cb-timeline" role="img" aria-label="{label}" '
        f'viewBox="0 0 {timeline.steps} {height}" preserveAspectRatio="none" '
        f'style="height:{height}px">{shapes}</svg>'
    )


def _bar(row: int, first: int, stop: int) -> str:
    width = stop - first
    return f"M{first},{row * (_LANE + _GAP)}h{width}v{_LANE}h-{width}z"
