"""Follows a job in the cell that waits for it: draws, replays outputs, cancels on Ctrl-C."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from cloudbutton_backend.errors import CloudError
from cloudbutton_backend.jobs import ItemOutcome
from cloudbutton_magic.display.job import Drawable, job_view
from cloudbutton_magic.display.model import View
from cloudbutton_magic.display.screens import Screen
from cloudbutton_magic.display.timeline import Timeline, timeline_of
from cloudbutton_magic.outputs import Replay

PATIENCE: Final = 0.3
"""Seconds; a shorter job shows its summary only, without flicker."""
PERIOD: Final = 0.1
"""Seconds between two drawings: ten times a second looks continuous."""
CANCEL_WITHIN: Final = 0.7
"""Seconds to wait for a cancelled job's end; the cell must end within one second."""


class Followed(Drawable, Protocol):
    """What of a job the cell that waits for it uses."""

    def wait(self, timeout: float | None = None) -> bool: ...
    def outcomes(self) -> Iterator[ItemOutcome]: ...
    def cancel(self) -> object: ...


@dataclass(frozen=True, kw_only=True)
class Wording:
    """What the view says beyond the job's own progress."""

    targets: Sequence[str] = ()
    """Names of what an item is, for `item 17: C=0.1`."""
    hints: Callable[[View], Sequence[str]] | None = None
    """What the user can do, given how it ended."""


def follow(
    job: Followed,
    screen: Screen,
    *,
    wording: Wording = Wording(),
    replay: Replay | None = None,
    patience: float = PATIENCE,
    period: float = PERIOD,
) -> View:
    """Wait for a job, showing how it goes; return the final view, which stays on the screen.

    Raises
    ------
    KeyboardInterrupt
        After the job has been cancelled and its summary shown.
    """
    replay = replay or Replay()
    try:
        if not job.wait(patience):
            _follow_live(job, screen, wording, replay, period)
            return _close(job, screen, wording)
        view = _close(job, screen, wording)
        for outcome in _outcomes(job):
            replay.play(outcome)
        return view
    except KeyboardInterrupt:
        # The user has waited long enough; whatever is slow to stop goes on stopping behind.
        job.cancel()
        job.wait(CANCEL_WITHIN)
        screen.clear()
        _close(job, screen, wording)
        raise
    finally:
        replay.finish()


def _follow_live(
    job: Followed, screen: Screen, wording: Wording, replay: Replay, period: float
) -> None:
    # Outcomes come from a thread, as waiting for the next one must not stop the drawing; they
    # are shown by this one, because IPython ties an output to the thread that runs the cell.
    ready: queue.SimpleQueue[ItemOutcome | None] = queue.SimpleQueue()
    threading.Thread(
        target=_collect, args=(job, ready), name="cloudbutton-outputs", daemon=True
    ).start()
    shown: View | None = None
    is_read = False
    while True:
        view = job_view(job, wording.targets)
        if view != shown:
            screen.draw(view)
            shown = view
        finished = job.wait(period)
        is_read = _play_ready(ready, screen, replay) or is_read
        if finished:
            break
    until = time.monotonic() + CANCEL_WITHIN * 10
    while not is_read and time.monotonic() < until:
        try:
            outcome = ready.get(timeout=period)
        except queue.Empty:
            continue
        if outcome is None:
            break
        _play(outcome, screen, replay)


def _collect(job: Followed, ready: queue.SimpleQueue[ItemOutcome | None]) -> None:
    for outcome in _outcomes(job):
        if outcome.outputs:
            ready.put(outcome)
    ready.put(None)


def _outcomes(job: Followed) -> Iterator[ItemOutcome]:
    """Yield the outcomes; why there are no more of them is for `results()` to say."""
    try:
        yield from job.outcomes()
    except CloudError:
        return


def _play_ready(
    ready: queue.SimpleQueue[ItemOutcome | None], screen: Screen, replay: Replay
) -> bool:
    """Show what has come; return True after the last one."""
    while True:
        try:
            outcome = ready.get_nowait()
        except queue.Empty:
            return False
        if outcome is None:
            return True
        _play(outcome, screen, replay)


def _play(outcome: ItemOutcome, screen: Screen, replay: Replay) -> None:
    screen.clear()
    replay.play(outcome)


def _close(job: Followed, screen: Screen, wording: Wording) -> View:
    view = job_view(job, wording.targets)
    if wording.hints is not None:
        view = job_view(job, wording.targets, wording.hints(view))
    screen.close(view, _picture(job))
    return view


def _picture(job: Followed) -> Timeline | None:
    """A timeline, unless the job was over before one could look at it."""
    if job.progress.elapsed < PATIENCE:
        return None
    timeline = timeline_of(job.timeline())
    return timeline if timeline is not None and timeline.seconds >= PERIOD else None
