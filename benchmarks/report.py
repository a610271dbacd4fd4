"""From readings to one Markdown table per case: medians, ratios, targets met or not."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median

from benchmarks.model import Cell, Metric, Reading, Target
from benchmarks.runner import Results

#: Other programs' use of CPUs from which on a reading is marked.
NOTABLE_CPUS = 0.2

_HEADER = (
    "| figure | engine | median (min–max) | ÷ floor | ÷ best peer | our target |\n"
    "|---|---|---|---|---|---|"
)


@dataclass(frozen=True)
class Summary:
    """One metric of one cell over its runs."""

    cell: Cell
    numbers: tuple[float, ...]
    words: tuple[str, ...]
    """What came instead of numbers, each once."""

    @property
    def median(self) -> float | None:
        """The median, unless a run brought no number."""
        return median(self.numbers) if self.numbers and not self.words else None


def summarise(cell: Cell, metric: Metric, runs: Iterable[dict[str, Reading]]) -> Summary:
    """Gather a metric's readings; an error stands in for every reading of its run."""
    readings = [run.get("error", run.get(metric.key, "–")) for run in runs]
    return Summary(
        cell,
        tuple(reading for reading in readings if not isinstance(reading, str)),
        tuple(dict.fromkeys(reading for reading in readings if isinstance(reading, str))),
    )


def best_peer(metric: Metric, summaries: Iterable[Summary]) -> float | None:
    """Return the best median among peers, the floor and ourselves apart."""
    medians = [
        summary.median
        for summary in summaries
        if summary.cell.engine.role == "peer" and summary.median is not None
    ]
    if not medians:
        return None
    return max(medians) if metric.higher_is_better else min(medians)


def verdict(target: Target, reached: float | None, floor: float | None) -> str:
    """Say the target, and whether it is met.

    >>> verdict(Target(limit=0.3), 0.25, None)
    '≤ 0.3: met'
    >>> verdict(Target(limit=2, of_floor=True), 33.0, 11.0)
    '≤ 2 × floor: **not met**'
    """
    words = f"{'≥' if target.least else '≤'} {target.limit:,g}"
    if target.of_floor:
        words += " × floor"
    if reached is None:
        return f"{words}: **not met**"
    if target.of_floor and floor is None:
        return f"{words}: floor not measured"
    limit = target.limit * (floor or 1.0) if target.of_floor else target.limit
    met = reached >= limit if target.least else reached <= limit
    return f"{words}: {'met' if met else '**not met**'}"


def _ratio(value: float | None, base: float | None) -> str:
    return "–" if value is None or not base else f"{value / base:.2f}"


def _spread(summary: Summary, metric: Metric) -> str:
    shown = "; ".join(word[:70].replace("|", "\\|") for word in summary.words)
    if not summary.numbers:
        return shown
    low, middle, high = (
        f"{number:,.{metric.digits}f}"
        for number in (min(summary.numbers), median(summary.numbers), max(summary.numbers))
    )
    runs = len(summary.numbers)
    figure = f"{middle} ({low}–{high})" if runs > 1 else f"{middle} (1 run)"
    return f"{figure}; {shown}" if shown else figure


def _rows(metric: Metric, results: Results) -> Iterable[str]:
    summaries = [summarise(cell, metric, runs) for cell, runs in results.runs.items()]
    floor = next((s.median for s in summaries if s.cell.engine.role == "floor"), None)
    peer = best_peer(metric, summaries)
    label = f"{metric.label}, {metric.unit}" if metric.unit else metric.label
    for summary in summaries:
        ours = summary.cell.engine.role == "ours"
        target = verdict(metric.target, summary.median, floor) if ours and metric.target else ""
        yield (
            f"| {label} | {summary.cell} | {_spread(summary, metric)} | "
            f"{_ratio(summary.median, floor)} | {_ratio(summary.median, peer)} | {target} |"
        )
        label = ""


def table(results: Results) -> str:
    """Return the case's table under its title."""
    if not results.runs:
        return f"## {results.case.title}\n\nNo engine to measure.\n"
    rows = [row for metric in results.case.metrics for row in _rows(metric, results)]
    return "\n".join([f"## {results.case.title}", "", _HEADER, *rows, "", *_warning(results)])


def _warning(results: Results) -> Iterable[str]:
    busy = {cell: max(cpus) for cell, cpus in results.neighbours.items()}
    disturbed = [f"{cell} ({cpus:.1f})" for cell, cpus in busy.items() if cpus >= NOTABLE_CPUS]
    if disturbed:
        yield f"Other programs used CPUs during runs of: {', '.join(disturbed)}. Trust these less.\n"


def as_json(all_results: Iterable[Results]) -> list[dict[str, object]]:
    """Return every single reading, for other programs."""
    return [
        {
            "case": results.case.name,
            "engine": cell.engine.name,
            "chunk": cell.chunk,
            "runs": runs,
            "neighbours": results.neighbours.get(cell, []),
        }
        for results in all_results
        for cell, runs in results.runs.items()
    ]
