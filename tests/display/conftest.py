"""A job that goes as far as the test says, when it says so: our own protocol, no clock."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from cloudbutton_backend.job_model import BatchRecord, ItemOutcome, JobState, Output, Progress
from cloudbutton_backend.job_model.timeline import Timeline
from cloudbutton_magic.display.view_model import View


def _progress(**changes: Any) -> Progress:
    begun = Progress(
        job_id="k3fb7xq2",
        name="scores",
        backend="local",
        state=JobState.RUNNING,
        total=4,
        done=0,
        failed=0,
        running=2,
        workers=2,
        elapsed=1.0,
        task_seconds=0.0,
    )
    return replace(begun, **changes)


class ScriptedJob:
    """Each `wait` of some length performs the next step of the script."""

    def __init__(self, *steps: Callable[[ScriptedJob], object]) -> None:
        self.id = "k3fb7xq2"
        self.progress = _progress()
        self.cancelled = False
        self._steps = list(steps)
        self._failed: dict[int, BaseException] = {}
        self._outcomes: list[ItemOutcome] = []
        self._changed = threading.Condition()

    def wait(self, timeout: float | None = None) -> bool:
        if timeout != 0 and self._steps and not self.progress.state.is_final:
            self._steps.pop(0)(self)
        return self.progress.state.is_final

    def arrive(self, *texts: str, error: BaseException | None = None) -> None:
        """The next item ends, having printed `texts`."""
        outputs = tuple(Output("stdout", text) for text in texts)
        with self._changed:
            index = len(self._outcomes)
            self._outcomes.append(ItemOutcome(index, index, error, outputs))
            if error is not None:
                self._failed[index] = error
            done = len(self._outcomes) - len(self._failed)
            self.progress = replace(self.progress, done=done, failed=len(self._failed))
            self._changed.notify_all()

    def end(self, state: JobState = JobState.DONE) -> None:
        with self._changed:
            self.progress = replace(self.progress, state=state, running=0)
            self._changed.notify_all()

    def cancel(self) -> None:
        self.cancelled = True
        self.end(JobState.CANCELLED)

    def shown(self) -> Iterator[ItemOutcome]:
        return (outcome for outcome in self.outcomes() if outcome.outputs)

    def outcomes(self) -> Iterator[ItemOutcome]:
        index = 0
        while True:
            with self._changed:
                while index >= len(self._outcomes) and not self.progress.state.is_final:
                    self._changed.wait()
                if index >= len(self._outcomes):
                    return
                outcome = self._outcomes[index]
            yield outcome
            index += 1

    def errors(self) -> dict[int, BaseException]:
        return dict(self._failed)

    def timeline(self) -> tuple[BatchRecord, ...]:
        return (BatchRecord(self.id, 0, "w0", 0, 4, 100.0, 101.0, "done"),)


class RecordingScreen:
    """Keeps the views it was given, and prints a mark where each was drawn."""

    def __init__(self) -> None:
        self.drawn: list[View] = []
        self.closed: list[tuple[View, Timeline | None]] = []

    def draw(self, view: View) -> None:
        self.drawn.append(view)

    def clear(self) -> None:
        pass

    def close(self, view: View, timeline: Timeline | None) -> None:
        self.closed.append((view, timeline))


@pytest.fixture
def progress() -> Callable[..., Progress]:
    return _progress


@pytest.fixture
def scripted_job() -> type[ScriptedJob]:
    return ScriptedJob


@pytest.fixture
def screen() -> RecordingScreen:
    return RecordingScreen()
