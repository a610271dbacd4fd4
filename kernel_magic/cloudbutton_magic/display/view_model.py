"""The texts of a view: turns a `Progress` into words, and draws nothing."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from cloudbutton_backend import units
from cloudbutton_backend.job_model import JobState, Progress

_WORTH_COMPARING: Final = 0.1
"""Below this the ratio of work to wall time says more about the overhead than about the job."""
_BUSY: Final = 0.25
"""Where items waited longer for a CPU than this part of their work, comparing says nothing."""
_MESSAGE_WIDTH: Final = 160


class Tone(str, enum.Enum):
    """The meaning of a view's colours."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, kw_only=True)
class FailureGroup:
    """Items that failed the same way."""

    message: str
    """`ValueError: C must be positive`"""
    count: int
    first: str
    """The first of them, as the user knows it: `item 17: C=0.1`."""


@dataclass(frozen=True, kw_only=True)
class View:
    """A job at one moment, in words and fractions."""

    tone: Tone
    name: str
    job_id: str
    headline: str
    """The sentence that says it all; the only line where one line must do."""
    details: tuple[str, ...] = ()
    done: float | None = None
    """Share of items with a result; None while the total is not known."""
    failed: float = 0.0
    """Share of items that failed."""
    count: tuple[int, int | None] = (0, None)
    """Finished items, and how many there are."""
    lines: tuple[str, ...] = ()
    """The latest printed lines, while it runs."""
    failures: tuple[str, ...] = ()
    hints: tuple[str, ...] = ()
    """What the user can do now."""
    warnings: tuple[str, ...] = ()

    @property
    def is_final(self) -> bool:
        return self.tone is not Tone.RUNNING


def view_of(
    progress: Progress,
    *,
    failures: Sequence[FailureGroup] = (),
) -> View:
    """Return the view of how a job is doing, or how it ended."""
    total = progress.total
    tone = _tone(progress)
    is_final = tone is not Tone.RUNNING
    return View(
        tone=tone,
        name=progress.name,
        job_id=progress.job_id,
        headline=_ended(progress, tone, failures) if is_final else _running(progress),
        details=_afterwards(progress) if is_final else _meanwhile(progress),
        done=None if total is None else _share(progress.done, total),
        failed=0.0 if total is None else _share(progress.failed, total),
        count=(progress.finished, total),
        lines=() if is_final else progress.last_lines,
        failures=_failures(failures) if is_final else (),
        warnings=progress.warnings,
    )


def view_of_part(progress: Progress, taken: int | None, reason: str = "") -> View:
    """Return the view of a job that the cell ended early: without a count of what it never reached.

    Parameters
    ----------
    taken
        The items before the one from which on the loop runs here; None if it ended instead.
    reason
        Why it runs here.
    """
    where = f"in {units.seconds(progress.elapsed)}{_where(progress)}"
    if taken is None:
        headline = f"✓ ended early, {where}"
    else:
        done = f"✓ {units.count(taken, 'item')} {where}, then here" if taken else "ran here"
        headline = f"{done}: {units.clipped(reason, _MESSAGE_WIDTH)}" if reason else done
    return View(
        tone=Tone.DONE,
        name=progress.name,
        job_id=progress.job_id,
        headline=headline,
        details=(f"job {progress.job_id}",),
        warnings=progress.warnings,
    )


def _tone(progress: Progress) -> Tone:
    if not progress.state.is_final:
        return Tone.RUNNING
    if progress.state is JobState.CANCELLED:
        return Tone.CANCELLED
    if progress.state is JobState.DONE and not progress.failed:
        return Tone.DONE
    return Tone.FAILED


def _share(part: int, total: int) -> float:
    return min(part / total, 1.0) if total else 1.0


def _running(progress: Progress) -> str:
    if progress.state is JobState.CANCELLING:
        return f"cancelling after {_so_far(progress)}"
    if progress.total is None:
        return f"{units.count(progress.finished, 'item')} so far"
    # Rounded down: 100 % with something still running would be a lie.
    percent = int(100 * _share(progress.finished, progress.total))
    return f"{progress.finished:,} of {units.count(progress.total, 'item')} · {percent} %"


def _meanwhile(progress: Progress) -> tuple[str, ...]:
    details = []
    if progress.running:
        details.append(f"{progress.running:,} running")
    elif not progress.finished:
        details.append("starting")
    details += _from_the_cache(progress)
    if progress.failed:
        details.append(f"{progress.failed:,} failed")
    details.append(f"{units.seconds(progress.elapsed)} elapsed")
    if progress.eta is not None and not progress.state.is_final:
        details.append(f"{units.roughly(progress.eta)} left")
    # Its id, so that `cloudbutton cancel ID` can be typed elsewhere while the cell blocks.
    return (*details, *_spending(progress), f"job {progress.job_id}")


def _is_free(progress: Progress) -> bool:
    """Whether there is nothing to show about money, as with local workers."""
    return not progress.spend and progress.expected_spend is None and progress.estimate is None


def _spending(progress: Progress) -> list[str]:
    """Return what it has cost so far, will cost, and may cost."""
    if _is_free(progress):
        return []
    text = f"{units.dollars(progress.spend)} spent"
    if progress.expected_spend:
        text += f" of about {units.dollars(progress.expected_spend)}"
    if progress.budget is not None:
        # Without one, calls may take as long as the platform lets them, and what is set aside says nothing.
        aside = f"{units.dollars(progress.committed)} set aside, " if progress.committed else ""
        text += f" ({aside}budget {units.limit(progress.budget)})"
    return [text]


def _billed(progress: Progress) -> list[str]:
    """Return what it has cost, beside what was expected."""
    if _is_free(progress):
        return []
    notes = []
    if progress.estimate is not None:
        notes.append(f"estimate {units.dollars(progress.estimate.expected)}")
    if progress.budget is not None:
        notes.append(f"budget {units.limit(progress.budget)}")
    beside = f" ({', '.join(notes)})" if notes else ""
    spend = units.dollars(progress.spend)
    return [f"at most {spend}{beside}" if progress.at_most else f"{spend} billed{beside}"]


def _interval(progress: Progress) -> list[str]:
    """Return the expected interval of the bill, and its basis."""
    estimate = progress.estimate
    if estimate is None:
        return []
    low, high = units.dollars(estimate.low), units.dollars(estimate.high)
    basis = f" from {estimate.basis}" if estimate.basis else ""
    return [f"estimated at {low} to {high}{basis}"]


def _ended(progress: Progress, tone: Tone, failures: Sequence[FailureGroup]) -> str:
    if tone is Tone.CANCELLED:
        return f"◼ cancelled after {_so_far(progress)} in {units.seconds(progress.elapsed)}"
    if tone is Tone.FAILED:
        return f"✗ {_what_failed(progress, failures)}"
    if progress.total == 0:
        return "✓ nothing to do: 0 items"
    sentence = f"✓ {units.count(progress.done, 'item')} in {units.seconds(progress.elapsed)}"
    if progress.cached < progress.done:
        sentence += _where(progress)
    found = _from_the_cache(progress)
    return " · ".join([sentence, *found, *_compared(progress), *_billed(progress)])


def _from_the_cache(progress: Progress) -> list[str]:
    """Return how many items were not run because results of earlier runs were found."""
    if not progress.cached:
        return []
    number = "all" if progress.cached == progress.total else f"{progress.cached:,}"
    return [f"{number} {'done before' if progress.continues else 'from the cache'}"]


def _so_far(progress: Progress) -> str:
    if progress.total is None:
        return units.count(progress.finished, "item")
    return f"{progress.finished:,} of {units.count(progress.total, 'item')}"


def _what_failed(progress: Progress, failures: Sequence[FailureGroup]) -> str:
    if progress.state is JobState.LOST:
        return f"lost with its kernel after {_so_far(progress)}"
    if not progress.failed:
        reason = progress.first_error or "the job could not go on"
        return f"stopped after {_so_far(progress)}: {units.clipped(reason, _MESSAGE_WIDTH)}"
    total = progress.finished if progress.total is None else progress.total
    sentence = f"{progress.failed:,} of {units.count(total, 'item')} failed"
    if failures:
        first = failures[0]
        return f"{sentence}: {units.clipped(first.message, _MESSAGE_WIDTH)} ({first.first})"
    if progress.first_error:
        return f"{sentence}: {units.clipped(progress.first_error, _MESSAGE_WIDTH)}"
    return sentence


def _where(progress: Progress) -> str:
    if not progress.workers:
        return f" on {progress.runs_on}"
    return f" on {units.count(progress.workers, f'{progress.runs_on} worker')}"


def _compared(progress: Progress) -> list[str]:
    """Compare with a serial run, where that says something."""
    factor = progress.speed_up
    if factor is None or progress.task_seconds < _WORTH_COMPARING:
        return []
    if factor >= 1.05:
        return [f"{units.times(factor)} faster than serial"]
    if progress.waited > _BUSY * progress.task_seconds:
        # A serial run would have waited too, for an unknown time.
        waited, work = units.seconds(progress.waited), units.seconds(progress.task_seconds)
        return [f"the CPUs were busy: {work} of work waited {waited} for them"]
    if factor > 0.95:
        return ["as fast as serial"]
    return [f"slower than serial ({units.seconds(progress.task_seconds)} of work)"]


def _afterwards(progress: Progress) -> tuple[str, ...]:
    details = []
    if progress.state is not JobState.DONE:
        details += _from_the_cache(progress)
        where = _where(progress).strip()
        is_said = progress.state is JobState.CANCELLED
        if not is_said:
            details.append(f"{progress.done:,} done{_not_run(progress)}")
        details.append(where if is_said else f"{units.seconds(progress.elapsed)} {where}")
        details += _billed(progress)
    if progress.task_seconds >= _WORTH_COMPARING:
        details.append(f"{units.seconds(progress.task_seconds)} of work")
        busy = _share_of_time(progress)
        if busy is not None:
            details.append(f"workers {busy:.0%} busy")
    if progress.retried:
        details.append(f"{units.count(progress.retried, 'item')} tried again")
    if progress.lost_workers:
        details.append(f"{units.count(progress.lost_workers, 'worker')} lost and replaced")
    details += _interval(progress)
    return (*details, f"job {progress.job_id}")


def _not_run(progress: Progress) -> str:
    rest = 0 if progress.total is None else progress.total - progress.finished
    return f", {rest:,} not run" if rest > 0 else ""


def _share_of_time(progress: Progress) -> float | None:
    available = progress.elapsed * progress.workers
    return min(progress.task_seconds / available, 1.0) if available > 0 else None


def _failures(groups: Sequence[FailureGroup]) -> tuple[str, ...]:
    """One line per way of failing beyond the first, which the headline names already."""
    if len(groups) == 1:
        others = groups[0].count - 1
        return (f"{units.count(others, 'more item')} failed the same way",) if others else ()
    lines = [
        f"{group.count:,} × {units.clipped(group.message, _MESSAGE_WIDTH)} (first: {group.first})"
        for group in groups[:5]
    ]
    if len(groups) > 5:
        lines.append(f"… and {len(groups) - 5} other kinds of error")
    return tuple(lines)
