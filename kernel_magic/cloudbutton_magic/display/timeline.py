"""A small picture of which worker ran when, in a bounded number of shapes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from cloudbutton_backend.job_model import BatchRecord
from cloudbutton_backend.job_model.timeline import BATCH_KINDS, Timeline, timeline_of

_STEPS: Final = 200
_LANES: Final = 12
_LANE: Final = 7
_GAP: Final = 2


def summary_timeline(batches: Sequence[BatchRecord]) -> Timeline | None:
    """Return who ran when, as the summary under a cell shows it; None without batches."""
    return timeline_of(batches, steps=_STEPS, lanes=_LANES)


def timeline_svg(timeline: Timeline) -> str:
    """Draw a timeline; colours come from the classes, set by whoever embeds it.

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
