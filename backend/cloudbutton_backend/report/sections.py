"""The report's parts, each a section or nothing: facts in, markup out."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from cloudbutton_backend import units
from cloudbutton_backend.job_model import Progress
from cloudbutton_backend.job_model.timeline import timeline_of
from cloudbutton_backend.journal import ErrorRecord
from cloudbutton_backend.report import chart_data, charts
from cloudbutton_backend.report.facts import JobFacts
from cloudbutton_backend.report.markup import Markup, element, joined, prose
from cloudbutton_backend.report.redaction import last_part, without_places, without_secrets

_LANES: Final = 40
"""Workers that have a lane of their own; of more it is shown how many were busy."""
_ERRORS: Final = 20
"""Kinds of errors that are shown in full."""
_ITEMS: Final = 8
"""Items that are named of those that failed alike."""
_CODE: Final = 40_000
"""Characters of code, of a message and of a traceback."""
_TEXT: Final = 6_000

_STATES: Final = {
    "running": "still running when this was written",
    "cancelling": "being cancelled when this was written",
    "lost": "lost: its process has gone",
}


def head(facts: JobFacts) -> Markup:
    """Return what it is, how it went, when and where."""
    job, progress = facts.record, facts.progress
    state = progress.state.value
    where = [
        str(progress.runs_on),
        units.count(progress.workers, "worker") if progress.workers else "",
    ]
    if job.worker_memory:
        where.append(f"{units.size(job.worker_memory * 2**20)} each")
    if job.notebook:
        where.append(f"from {last_part(job.notebook)}")
    return element(
        "header",
        element("h1", _clipped(job.name, 200)),
        element(
            "p",
            element("span", _STATES.get(state, state), class_=f"state is-{state}"),
            element(
                "span", f" · job {job.id} · {moment(job.created)} · ", class_="muted"
            ),
            element("span", ", ".join(part for part in where if part), class_="muted"),
        ),
        _line(progress.first_error, "failure") if progress.first_error else None,
        [_line(text, "warning") for text in progress.warnings],
        _figures(facts),
    )  # fmt: skip


def _line(text: str, kind: str) -> Markup:
    return element("p", prose(without_places(_clipped(text, _TEXT))), class_=kind)


def _figures(facts: JobFacts) -> Markup:
    progress = facts.progress
    speed_up = progress.speed_up or 0.0
    total = "?" if progress.total is None else units.count(progress.total)
    notes = [
        f"{units.count(progress.failed)} failed" if progress.failed else "",
        f"{units.count(progress.cached)} were there before" if progress.cached else "",
        f"{units.count(progress.retried)} tried again" if progress.retried else "",
    ]
    shown = [
        ("items", f"{units.count(progress.done)} of {total}", ", ".join(filter(None, notes))),
        ("time", units.seconds(progress.elapsed), _expected_time(facts)),
    ]
    if progress.task_seconds:
        faster = f"{units.times(speed_up)} as fast as one by one" if speed_up > 1 else ""
        shown.append(("work", units.seconds(progress.task_seconds), faster))
    if progress.spend or progress.estimate is not None or progress.budget is not None:
        budget = (
            "" if progress.budget is None else f"of a budget of {units.dollars(progress.budget)}"
        )
        shown.append(("cost", _spend(progress), budget))
    if progress.lost_workers:
        shown.append(
            ("lost", units.count(progress.lost_workers, "worker"), "their items ran again")
        )
    return element(
        "dl",
        [
            element(
                "div",
                element("dt", name),
                element("dd", value, element("small", note) if note else None),
            )
            for name, value, note in shown
        ],
        class_="figures",
    )


def _spend(progress: Progress) -> str:
    spend = units.dollars(progress.spend)
    return f"at most {spend}" if progress.at_most else spend


def _expected_time(facts: JobFacts) -> str:
    expected = facts.record.expected_seconds
    if expected is None:
        return ""
    return f"expected: {units.seconds(expected.low)} to {units.seconds(expected.high)}"


def timeline(facts: JobFacts) -> Markup | None:
    """Return the timeline of the workers."""
    shown = timeline_of(facts.batches, steps=chart_data.STEPS, lanes=_LANES)
    if shown is None:
        return None
    legend = element(
        "p",
        f"{len(facts.batches):,} {'batch' if len(facts.batches) == 1 else 'batches'}",
        f" on {units.count(shown.n_workers, 'worker')}.",
        *(
            (
                element("span", class_="key done"), "done",
                element("span", class_="key failed"), "an item failed",
                element("span", class_="key lost"), "worker lost, or out of time",
            )
            if shown.is_complete
            else ()
        ),
        class_="muted",
    )  # fmt: skip
    return _section("Timeline", legend, _wide(charts.timeline_chart(shown)))


def durations(facts: JobFacts) -> Markup | None:
    """Return how long items took."""
    shown = chart_data.histogram(facts.batches)
    if shown is None:
        return None
    words = (
        f"Half of the items took less than {units.seconds(shown.median)}, 95 % less than "
        f"{units.seconds(shown.p95)}; the longest took {units.seconds(shown.longest)}. "
        "Items that went together in a batch count with its mean."
    )
    return _section(
        "Durations", element("p", words, class_="muted"), _wide(charts.durations_chart(shown))
    )


def memory(facts: JobFacts) -> Markup | None:
    """Return what memory the workers needed."""
    shown = chart_data.memory(facts.batches)
    if shown is None:
        return None
    limit = facts.record.options.get("memory") or facts.record.worker_memory
    allowed = None if limit is None else int(limit) * 2**20
    words = f"At most {units.size(shown.peak)} in a worker" + (
        f", {shown.peak / allowed:.0%} of the {units.size(allowed)} that it may have."
        if allowed
        else "."
    )
    return _section(
        "Memory", element("p", words, class_="muted"), _wide(charts.memory_chart(shown, allowed))
    )


def cost(facts: JobFacts) -> Markup | None:
    """Return what it was expected to cost, and what it did."""
    progress = facts.progress
    estimate = progress.estimate
    if not progress.spend and estimate is None and progress.budget is None:
        return None
    rows = []
    if estimate is not None:
        interval = f"{units.dollars(estimate.low)} to {units.dollars(estimate.high)} (90 %)"
        rows.append(("expected", units.dollars(estimate.expected), interval))
        rows[-1] = (
            *rows[-1][:2],
            f"{interval}, by {estimate.basis}" if estimate.basis else interval,
        )
    verdict = ""
    if estimate is not None and progress.state.is_final:
        inside = estimate.low <= progress.spend <= estimate.high
        verdict = "inside the interval" if inside else "outside the interval"
        if estimate.expected > 0:
            verdict += f", {progress.spend / estimate.expected - 1:+.0%}"
    rows.append(("billed", _spend(progress), verdict))
    if progress.done and progress.spend:
        rows.append(("per item", units.dollars(progress.spend / progress.done), ""))
    if progress.budget is not None:
        rows.append(("budget", units.dollars(progress.budget), ""))
    return _section("Cost", _table(("", "US dollars", ""), rows))


def errors(facts: JobFacts) -> Markup | None:
    """Return what failed and why, the same together."""
    if not facts.errors:
        return None
    groups = alike(facts.errors)
    parts: list[Markup] = []
    missing = facts.progress.failed - len(facts.errors)
    if missing > 0:
        failed = units.count(facts.progress.failed)
        words = f"Of {failed} failed items the first {len(facts.errors)} are told."
        parts.append(element("p", words, class_="muted"))
    for number, group in enumerate(groups[:_ERRORS]):
        first = group[0]
        title = without_places(f"{first.type_name}: {_clipped(first.message, 300)}")
        parts.append(
            element(
                "details",
                element("summary", element("span", title, class_="failure"), " ", _items(group)),
                _pre(without_places(_clipped(first.traceback or first.message, _TEXT))),
                open="open" if number < 3 else None,
            )
        )
    if len(groups) > _ERRORS:
        parts.append(element("p", f"… and {len(groups) - _ERRORS} other kinds.", class_="muted"))
    return _section("Errors", *parts)


def alike(found: Sequence[ErrorRecord]) -> list[list[ErrorRecord]]:
    """Return errors in groups that failed in the same place in the same way, the most frequent first."""
    groups: dict[tuple[str, str], list[ErrorRecord]] = {}
    for error in sorted(found, key=lambda each: each.index):
        # Messages often hold the item's values; the lines that raised do not.
        groups.setdefault((error.type_name, error.traceback or error.message), []).append(error)
    return sorted(groups.values(), key=lambda group: (-len(group), group[0].index))


def _items(group: Sequence[ErrorRecord]) -> str:
    if len(group) == 1:
        item = without_places(_clipped(group[0].item, 120))
        return f"(item {group[0].index}" + (f": {item})" if item else ")")
    shown = ", ".join(str(error.index) for error in group[:_ITEMS])
    return f"({len(group)} items: {shown}{', …' if len(group) > _ITEMS else ''})"


def code(facts: JobFacts) -> Markup | None:
    """Return what ran, as the user wrote it, and what a cell was turned into."""
    job = facts.record
    if not job.source and not job.plan:
        return None
    return _section(
        "Code",
        _pre(without_secrets(_clipped(job.source, _CODE))) if job.source else None,
        element(
            "details",
            element("summary", "What the cell was turned into"),
            _pre(without_secrets(_clipped(job.plan, _CODE))),
        )
        if job.plan
        else None,
    )


def options(facts: JobFacts) -> Markup | None:
    """Return what was asked for; what was left as it is is not told."""
    asked = [
        (name, element("code", without_places(_clipped(str(value), _TEXT))), "")
        for name, value in facts.record.options.items()
        if value not in (None, False, "", []) and name not in {"name", "seed", "threshold_bytes"}
    ]
    asked.append(
        ("seed", element("code", str(facts.record.seed)), prose("of `rng()` in the tasks"))
    )
    return _section("Options", _table(("option", "value", ""), asked))


def capture(facts: JobFacts) -> Markup | None:
    """Return what the function took along, how large it was and how it travelled."""
    report = facts.capture
    if not report.get("function"):
        return None
    words = f"{report['function']} travelled in {units.size(_number(report, 'payload_nbytes'))}"
    if _number(report, "blobs_nbytes"):
        words += f", and {units.size(_number(report, 'blobs_nbytes'))} of large values went once"
    rows = [
        (
            element("code", str(value.get("name", ""))),
            str(value.get("type", "")),
            "" if value.get("travels") == "reference" else units.size(_number(value, "nbytes")),
            without_places(_clipped(str(value.get("how", value.get("travels", ""))), _TEXT)),
        )
        for value in report.get("values", ())
    ]
    packages = ", ".join(
        f"{name} {version}" for name, version in report.get("packages", {}).items()
    )
    modules = ", ".join(map(str, report.get("user_modules", ())))
    return _section(
        "What travelled",
        element("p", f"{words}."),
        _table(("name", "type", "size", "how it travelled"), rows) if rows else None,
        element("p", f"Own modules, by value: {modules}", class_="muted") if modules else None,
        element("p", f"Packages needed: {packages}", class_="muted") if packages else None,
    )


def foot(facts: JobFacts) -> Markup:
    """Return when and by what this was written."""
    words = f"Written {moment(facts.written)} by Cloud Button {facts.version}."
    return element("footer", words)


def moment(when: float) -> str:
    """Return a time as people write it, with its offset from UTC, as readers may be elsewhere."""
    local = time.localtime(when)
    return time.strftime("%Y-%m-%d %H:%M:%S %z", local)


def _number(values: Mapping[str, Any], name: str) -> float:
    value = values.get(name, 0)
    return value if isinstance(value, (int, float)) else 0.0


def _section(title: str, *children: Markup | None) -> Markup:
    name = title.lower().replace(" ", "-")
    return element(
        "section",
        element("h2", title, id=f"section-{name}"),
        children,
        aria_labelledby=f"section-{name}",
    )


def _table(names: Sequence[str], rows: Iterable[Sequence[str]]) -> Markup:
    return element(
        "div",
        element(
            "table",
            element("thead", element("tr", [element("th", name, scope="col") for name in names])),
            element(
                "tbody",
                [
                    element(
                        "tr",
                        element("th", row[0], scope="row"),
                        [element("td", cell) for cell in row[1:]],
                    )
                    for row in rows
                ],
            ),
        ),
        class_="scroll",
    )


def _wide(chart: Markup) -> Markup:
    return element("div", chart, class_="scroll")


def _pre(text: str) -> Markup:
    return element("pre", element("code", text.rstrip()), tabindex="0")


def _clipped(text: str, most: int) -> str:
    """Return text with what is beyond `most` characters taken out of its middle."""
    if len(text) <= most:
        return text
    left = most // 2
    gone = units.count(len(text) - 2 * left, "character")
    return f"{text[:left]}\n… {gone} left out …\n{text[-left:]}"


def all_of(facts: JobFacts) -> Markup:
    """Return the sections of a report, in their order."""
    parts = (head, timeline, durations, memory, cost, errors, code, options, capture, foot)
    return joined(part(facts) for part in parts)
