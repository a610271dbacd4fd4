"""The charts as SVG that a screen reader can tell, in colours that the style sheet gives. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from cloudbutton_backend import units
from cloudbutton_backend.job_model.timeline import BATCH_KINDS, Timeline
from cloudbutton_backend.report.chart_data import STEPS, Histogram, MemoryChart
from cloudbutton_backend.report.markup import Markup, element

_LEFT: Final = 92
"""Room for labels beside a chart."""
_WIDTH: Final = 2 * STEPS
_LANE: Final = 16
_BAR: Final = 10
_HEIGHT: Final = 150
_FOOT: Final = 26


def timeline_chart(shown: Timeline) -> Markup:
    """Return a lane for each worker, or the number of busy ones where there are many."""
    workers = units.count(shown.n_workers, "worker")
    what = f"{workers} over {units.seconds(shown.seconds)}."
    if not shown.is_complete:
        most = max(shown.busy)
        chart = _area(shown.busy, most, "area", f"{most:,}", "busy workers")
        return _svg("Busy workers", what, _HEIGHT, chart, _time_axis(shown.seconds, _HEIGHT))
    height = _LANE * len(shown.lanes)
    parts: list[Markup] = []
    for number, (worker, _) in enumerate(shown.lanes):
        y = number * _LANE
        parts.append(
            element("rect", x=_LEFT, y=y + 3, width=_WIDTH, height=_BAR, class_="track", rx=2)
        )
        parts.append(_text(units.clipped(worker, 14), _LEFT - 8, y + 12, "end"))
    for kind in BATCH_KINDS:
        steps = [
            f"M{_LEFT + 2 * stretch.first},{number * _LANE + 8}h{2 * (stretch.stop - stretch.first)}"
            for number, (_, lane) in enumerate(shown.lanes)
            for stretch in lane
            if stretch.kind == kind
        ]
        if steps:
            parts.append(element("path", d="".join(steps), class_=f"line {kind}"))
    return _svg("Timeline", what, height, *parts, _time_axis(shown.seconds, height))


def durations_chart(shown: Histogram) -> Markup:
    """Return how many items took how long."""
    most = max(shown.counts)
    width = _WIDTH / len(shown.counts)
    bars = [
        element(
            "rect",
            element("title", f"{_range(shown, number)}: {units.count(count, 'item')}"),
            x=f"{_LEFT + number * width + 1:.1f}",
            y=f"{_HEIGHT * (1 - count / most):.1f}",
            width=f"{max(width - 2, 1):.1f}",
            height=f"{_HEIGHT * count / most:.1f}",
            class_="bar",
        )
        if count
        else Markup()
        for number, count in enumerate(shown.counts)
    ]
    ends = [
        _text(units.seconds(shown.edges[0]), _LEFT, _HEIGHT + 18, "start"),
        _text(units.seconds(shown.edges[-1]), _LEFT + _WIDTH, _HEIGHT + 18, "end"),
        _text(
            "time per item" + (", logarithmic" if shown.is_logarithmic else ""),
            _LEFT + _WIDTH / 2,
            _HEIGHT + 18,
            "middle",
        ),
        _text(f"{most:,}", _LEFT - 8, 10, "end"),
        _text("items", _LEFT - 8, 26, "end"),
    ]
    what = (
        f"Half of the items took less than {units.seconds(shown.median)}, 95 % less than"
        f" {units.seconds(shown.p95)}; the longest {units.seconds(shown.longest)}."
    )
    return _svg("Durations", what, _HEIGHT, *bars, *ends)


def memory_chart(shown: MemoryChart, limit: int | None) -> Markup:
    """Return the largest resident peak of a worker over time, and what it may have."""
    top = max(shown.peak, limit or 0)
    parts = [_area(shown.peaks, top, "area", units.size(top), "peak of a worker")]
    if limit is not None:
        y = f"{_HEIGHT * (1 - limit / top):.1f}"
        parts.append(
            element("line", x1=_LEFT, x2=_LEFT + _WIDTH, y1=y, y2=y, class_="limit")
        )  # fmt: skip
    what = f"At most {units.size(shown.peak)} in a worker" + (
        f", of {units.size(limit)} that it may have." if limit is not None else "."
    )
    return _svg("Memory", what, _HEIGHT, *parts, _time_axis(shown.seconds, _HEIGHT))


def _area(values: Sequence[int], top: int, kind: str, most: str, what: str) -> Markup:
    """Return values over time as steps, filled below."""
    moves, last = [f"M{_LEFT},{_HEIGHT}"], 0
    for step, value in enumerate(values):
        if value != last:
            y = _HEIGHT * (1 - value / max(top, 1))
            moves.append(f"H{_LEFT + 2 * step}V{y:.1f}")
            last = value
    moves.append(f"H{_LEFT + _WIDTH}V{_HEIGHT}Z")
    return Markup(
        element("path", d="".join(moves), class_=kind)
        + _text(most, _LEFT - 8, 10, "end")
        + _text(what, _LEFT + 4, 12, "start")
    )


def _time_axis(seconds: float, height: float) -> Markup:
    y = height + 18
    return Markup(
        _text("0 s", _LEFT, y, "start")
        + _text(units.seconds(seconds / 2), _LEFT + _WIDTH / 2, y, "middle")
        + _text(units.seconds(seconds), _LEFT + _WIDTH, y, "end")
    )


def _range(shown: Histogram, bar: int) -> str:
    return f"{units.seconds(shown.edges[bar])} to {units.seconds(shown.edges[bar + 1])}"


def _text(text: str, x: float, y: float, anchor: str) -> Markup:
    return element("text", text, x=f"{x:g}", y=f"{y:g}", text_anchor=anchor)


def _svg(title: str, what: str, height: float, *parts: Markup) -> Markup:
    """Return a chart that says in words what it shows."""
    name = title.lower().replace(" ", "-")
    return element(
        "svg",
        element("title", title, id=f"{name}-title"),
        element("desc", what, id=f"{name}-desc"),
        parts,
        viewBox=f"0 0 {_LEFT + _WIDTH + 4} {height + _FOOT:g}",
        role="img",
        aria_labelledby=f"{name}-title {name}-desc",
    )
