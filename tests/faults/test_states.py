"""The state of a job is one: in the dispatcher, in its handle, in the journal and on the screen."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloudbutton_backend.backends.protocol import Limits
from cloudbutton_backend.errors import JobFailed
from cloudbutton_backend.job.job import Job
from cloudbutton_backend.job_model import JobOptions, JobState
from cloudbutton_backend.journal import JournalReader
from cloudbutton_backend.session.session import Session
from cloudbutton_magic.display.view_model import Tone, view_of
from tests.support.scripted_faults import Crashes, DoubledResults, Fault, LostResults, Stragglers
from tests.support.simulated_backend import PATIENCE, SimulatedBackend
from tests.support.workload import log_normal

N = 30
OPTIONS = JobOptions(backend="simulated")
TONES = {
    JobState.DONE: Tone.DONE,
    JobState.FAILED: Tone.FAILED,
    JobState.CANCELLED: Tone.CANCELLED,
}


class Referee:
    """Compares, between any two turns of the driver, what is said of its jobs."""

    def __init__(self, home: Path, backend: SimulatedBackend) -> None:
        self.session = Session(home)
        self.session.use_backend(backend)
        self.driver = self.session.driver("simulated")
        self.driver._clock = backend.clock
        self.jobs: list[Job] = []
        self.seen: set[JobState] = set()
        self.disagreements: list[object] = []
        self._reader = JournalReader(home)
        backend.before_poll = self.compare

    def compare(self) -> None:
        self.session.journal.flush(PATIENCE)
        asked = {job_id for job_id, _ in self.driver._inbox}
        for job in self.jobs:
            machine = self.driver._scheduler.jobs.get(job.id)
            if machine is None or job.id in asked:
                continue
            tone = view_of(job.progress).tone
            said = (job.state, self._reader.job(job.id).state, tone)
            tones = TONES.get(machine.state, Tone.RUNNING)
            if said != (machine.state, machine.state, tones):
                self.disagreements.append((machine.state, *said))
            self.seen.add(machine.state)


def raising(items: int) -> Iterator[int]:
    yield from range(items)
    raise OSError("no more")


@pytest.mark.parametrize("seed", range(5))
def test_they_agree_after_every_event(seed: int, tmp_path: Path) -> None:
    faults: list[Fault] = [
        Crashes(0.02),
        LostResults(0.05),
        DoubledResults(0.1),
        Stragglers(0.05),
    ]
    backend = SimulatedBackend(
        [],
        unknown=log_normal(N, 0.02, 1.0, seed),
        limits=Limits(workers=3, can_revoke=seed % 2 == 0, can_duplicate=seed % 3 == 0),
        faults=faults[: seed % 5],
        seed=seed,
    )
    referee = Referee(tmp_path / "home", backend)
    over = threading.Semaphore(0)

    def live_again(job: Job) -> None:
        def retry() -> None:
            job.retry_failed()
            job.add_done_callback(lambda _: over.release())

        # On the driver's thread, so that it does not begin during the check.
        backend.at(backend.now + 0.1, retry)

    session = referee.session
    try:
        plain = session.map(abs, range(N), options=OPTIONS)
        stopped = [session.map(abs, range(N), options=OPTIONS) for _ in range(2)]
        broken = session.map(abs, raising(N), options=OPTIONS)
        referee.jobs = [plain, *stopped, broken]
        plain.add_done_callback(lambda _: over.release())
        for job in (*stopped, broken):
            job.add_done_callback(live_again)
        backend.at(0.03, stopped[0].cancel)
        backend.at(0.05, referee.driver.break_job, stopped[1].id, JobFailed("it cannot go on"))
        backend.go()
        for _ in referee.jobs:
            assert over.acquire(timeout=PATIENCE)
    finally:
        session.close()
    assert not referee.disagreements
    assert [job.state for job in (plain, *stopped)] == [JobState.DONE] * 3
    assert broken.state is JobState.FAILED and len(broken.partial()) == N
    assert {JobState.RUNNING, JobState.CANCELLING, JobState.FAILED} <= referee.seen
