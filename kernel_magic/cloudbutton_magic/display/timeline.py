"""A small picture of which worker ran when, in a bounded number of shapes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from cloudbutton_backend.job_model import BatchRecord

MAX_SPANS: Final = 200
MAX_LANES: Final = 12

Kind = Literal["done", "failed", "lost"]
_WORST_FIRST: Final[tuple[Kind, ...]] = ("lost", "failed", "done")

_WIDTH: Final = 1000.0
_LANE: Final = 7.0
_GAP: Final = 2.0
_TROUBLE: Final = 5.0
"""Least width of what went wrong: it is what one looks for."""


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of one worker's time; seconds since the job's first batch began."""

    start: float
    end: float
    kind: Kind


@dataclass(frozen=True)
class TimelineView:
    """What the picture shows."""

    lanes: tuple[tuple[Span, ...], ...]
    """One per worker, in the order in which they began."""
    seconds: float
    n_workers: int
    """All workers, also those for which there is no room."""


def timeline_of(
    batches: Iterable[BatchRecord], *, max_spans: int = MAX_SPANS, max_lanes: int = MAX_LANES
) -> TimelineView | None:
    """Arrange batches in lanes, merging neighbours until the whole has at most `max_spans`."""
    records = sorted(batches, key=lambda batch: batch.start)
    if not records:
        return None
    origin = records[0].start
    by_worker: dict[str, list[Span]] = defaultdict(list)
    for record in records:
        span = Span(record.start - origin, max(record.end, record.start) - origin, _kind(record))
        by_worker[record.worker].append(span)
    shown = list(by_worker.values())[:max_lanes]
    share = max(max_spans // len(shown), 1)
    lanes = tuple(tuple(_merged(lane, share)) for lane in shown)
    seconds = max(span.end for lane in by_worker.values() for span in lane)
    return TimelineView(lanes, seconds, len(by_worker))


def _kind(record: BatchRecord) -> Kind:
    if record.status in ("lost", "timeout"):
        return "lost"
    return "failed" if record.failed or record.status == "error" else "done"


def _merged(lane: Sequence[Span], limit: int) -> list[Span]:
    """Join the neighbours with the smallest gaps; a joined span shows the worst of its parts."""
    excess = len(lane) - limit
    if excess <= 0:
        return list(lane)
    gaps = sorted(
        range(1, len(lane)),
        key=lambda i: (lane[i].kind != lane[i - 1].kind, lane[i].start - lane[i - 1].end),
    )
    joined = set(gaps[:excess])
    merged = [lane[0]]
    for i, span in enumerate(lane[1:], 1):
        if i not in joined:
            merged.append(span)
            continue
        last = merged[-1]
        worst = next(kind for kind in _WORST_FIRST if kind in (last.kind, span.kind))
        merged[-1] = Span(last.start, max(last.end, span.end), worst)
    return merged


def timeline_svg(timeline: TimelineView) -> str:
    """Draw a timeline; colours come from the classes, set by whoever embeds it.

    There is no text inside, because viewers that drop SVG from untrusted notebooks keep its text.
    """
    height = len(timeline.lanes) * (_LANE + _GAP) - _GAP
    scale = _WIDTH / timeline.seconds if timeline.seconds > 1e-9 else 0.0
    shapes = []
    for row, lane in enumerate(timeline.lanes):
        y = row * (_LANE + _GAP)
        shapes.append(
            f'<rect class="cb-lane" x="0" y="{y:g}" width="{_WIDTH:g}" height="{_LANE:g}"/>'
        )
        for span in lane:
            x = span.start * scale
            # Wide enough to be seen, with a hair's breadth to the next one.
            least = 0.8 if span.kind == "done" else _TROUBLE
            width = max((span.end - span.start) * scale - 0.8, least)
            x = min(x, _WIDTH - width)
            shapes.append(
                f'<rect class="cb-{span.kind}" x="{x:.1f}" y="{y:g}" '
                f'width="{width:.1f}" height="{_LANE:g}"/>'
            )
    label = f"Timeline of {timeline.n_workers} workers over {timeline.seconds:.1f} seconds"
    return (
        f'<svg class="cb-timeline" role="img" aria-label="{label}" '
        f'viewBox="0 0 {_WIDTH:g} {height:g}" preserveAspectRatio="none" '
        f'style="height:{height:g}px">{"".join(shapes)}</svg>'
    )
