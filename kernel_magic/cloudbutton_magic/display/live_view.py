"""Follows a job in the cell that waits for it: draws, replays outputs, cancels on Ctrl-C."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

from cloudbutton_backend.errors import CloudError, TaskTimeout, WorkerLost
from cloudbutton_backend.job_model import ItemOutcome, JobState
from cloudbutton_backend.job_model.timeline import Timeline
from cloudbutton_magic.display.job_view import Drawable, job_view, part_view
from cloudbutton_magic.display.rendering import summary_timeline
from cloudbutton_magic.display.screens import Screen
from cloudbutton_magic.display.task_outputs import OutputReplay
from cloudbutton_magic.display.view_model import View

PATIENCE: Final = 0.3
"""Seconds; a shorter job shows its summary only, without flicker."""
PERIOD: Final = 0.1
"""Seconds between two drawings: ten times a second looks continuous."""
CANCEL_WITHIN: Final = 0.7
"""Seconds to wait for a cancelled job's end; the cell must end within one second."""


class Followed(Drawable, Protocol):
    """The part of a job that the waiting cell uses."""

    def wait(self, timeout: float | None = None) -> bool: ...
    def outcomes(self) -> Iterator[ItemOutcome]: ...
    def shown(self) -> Iterator[ItemOutcome]: ...
    def cancel(self) -> object: ...


@dataclass(frozen=True, kw_only=True)
class Wording:
    """Texts of the view beyond the job's own progress."""

    targets: Sequence[str] = ()
    """Names of what an item is, for `item 17: C=0.1`."""
    hints: Callable[[View], Sequence[str]] | None = None
    """What the user can do, given how it ended."""


def follow(
    job: Followed,
    screen: Screen,
    *,
    wording: Wording = Wording(),
    replay: OutputReplay | None = None,
    patience: float = PATIENCE,
    period: float = PERIOD,
) -> View:
    """Wait for a job, showing how it goes; return the final view, which stays on the screen.

    Raises
    ------
    KeyboardInterrupt
        After the job has been cancelled and its summary shown.
    """
    replay = replay or OutputReplay()
    try:
        if not job.wait(patience):
            for outcome in _live(job, job.shown, screen, wording, period):
                screen.clear()
                replay.play(outcome)
            return _close(job, screen, wording)
        view = _close(job, screen, wording)
        for outcome in _until_trouble(job.shown):
            replay.play(outcome)
        return view
    except KeyboardInterrupt:
        _stop(job, screen, wording)
        raise
    finally:
        replay.finish()


def stream(
    job: Followed,
    screen: Screen,
    *,
    wording: Wording = Wording(),
    patience: float = PATIENCE,
    period: float = PERIOD,
    is_result: Callable[[ItemOutcome], bool] = lambda outcome: outcome.error is None,
) -> Iterator[ItemOutcome]:
    """Yield a job's outcomes in item order, from the first item without a gap, and show it.

    Closing the iterator cancels what is left of the job: the cell needs no more of it, and what is
    shown counts only what was taken before.

    Raises
    ------
    KeyboardInterrupt
        After the outcomes before the first gap, if the job was cancelled, from here or elsewhere.
    TaskError
        After them, too, if an item killed its worker or ran out of time.
    """
    expected = 0
    last: ItemOutcome | None = None
    try:
        job.wait(patience)
        for outcome in _live(job, job.outcomes, screen, wording, period):
            if outcome.index != expected:
                break  # an item before it never ran
            expected += 1
            last = outcome
            screen.clear()
            yield outcome
    except KeyboardInterrupt:
        _stop(job, screen, wording)
        raise
    except GeneratorExit:
        if last is not None and isinstance(last.error, (WorkerLost, TaskTimeout)):
            _stop(job, screen, wording)
            raise
        job.cancel()
        job.wait(CANCEL_WITHIN)
        screen.clear()
        ended = last if last is not None and not is_result(last) else None
        screen.close(part_view(job.progress, ended), None)
        raise
    job.wait()  # ends: it raises when nothing drives the job any more
    _close(job, screen, wording)
    if job.progress.state is JobState.CANCELLED:
        raise KeyboardInterrupt
    # It may lie beyond a gap: with its failure, items before it that had not ended were stopped.
    for error in job.errors().values():
        if isinstance(error, (WorkerLost, TaskTimeout)):
            raise error


def _live(
    job: Followed,
    source: Callable[[], Iterator[ItemOutcome]],
    screen: Screen,
    wording: Wording,
    period: float,
) -> Iterator[ItemOutcome]:
    """Yield what `source` yields as it comes; draw when something has changed."""
    # Outcomes come from a thread, as waiting for the next one must not stop the drawing; they
    # are shown by this one, because IPython ties an output to the thread that runs the cell.
    ready: queue.SimpleQueue[ItemOutcome | None] = queue.SimpleQueue()
    threading.Thread(
        target=_collect, args=(source, ready), name="cloudbutton-outcomes", daemon=True
    ).start()
    shown: View | None = None
    while not job.wait(0):  # ends: it raises when nothing drives the job any more
        view = job_view(job, wording.targets)
        if view != shown:
            screen.draw(view)
            shown = view
        job.wait(period)
        while not ready.empty():
            outcome = ready.get_nowait()
            if outcome is None:
                return
            yield outcome
    # What is left arrives at once; the job has ended.
    # ends: the collecting thread puts None at last, whatever happens
    while (outcome := ready.get()) is not None:
        yield outcome


def _collect(
    source: Callable[[], Iterator[ItemOutcome]], ready: queue.SimpleQueue[ItemOutcome | None]
) -> None:
    try:
        for outcome in _until_trouble(source):
            ready.put(outcome)
    finally:
        ready.put(None)


def _until_trouble(source: Callable[[], Iterator[ItemOutcome]]) -> Iterator[ItemOutcome]:
    """Yield outcomes; why there are no more of them is for `results()` to say."""
    try:
        yield from source()
    except CloudError:
        return


def _stop(job: Followed, screen: Screen, wording: Wording) -> None:
    """Cancel; the user has waited long enough, so what is slow to stop goes on stopping behind."""
    job.cancel()
    job.wait(CANCEL_WITHIN)
    screen.clear()
    _close(job, screen, wording)


def _close(job: Followed, screen: Screen, wording: Wording) -> View:
    view = job_view(job, wording.targets)
    if wording.hints is not None:
        view = replace(view, hints=tuple(wording.hints(view)))
    screen.close(view, _picture(job))
    return view


def _picture(job: Followed) -> Timeline | None:
    """A timeline, unless the job was over too soon to be watched."""
    if job.progress.elapsed < PATIENCE:
        return None
    timeline = summary_timeline(job.timeline())
    return timeline if timeline is not None and timeline.seconds >= PERIOD else None
