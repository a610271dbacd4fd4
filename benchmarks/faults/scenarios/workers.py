"""Workers of the local pool that are killed, and one that stands still."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from benchmarks.faults.judge import judge, recomputed
from benchmarks.faults.tally import Tally, together
from benchmarks.faults.tasks import Ledger, noted
from cloudbutton_backend.job.job import Job
from cloudbutton_backend.session.session import Session

KILLS_APART = 20
"""Executions between two kills, so that they hit different items: three times the same one may fail."""


@contextmanager
def session_in(home: Path, workers: int = 2) -> Iterator[Session]:
    """Yield a session with its own journal and so many workers, all up."""
    home.mkdir(mode=0o700, exist_ok=True)
    session = Session(home)
    try:
        session._drivers.use("local", workers=workers)
        session.warm_up("local", timeout=60.0)
        yield session
    finally:
        session.close()


def worker_pids(session: Session) -> list[int]:
    """Return the pids of a session's workers."""
    workers = session.driver("local").backend._workers  # type: ignore[attr-defined]
    return [worker.pid for worker in list(workers.values())]


class Arrivals:
    """Takes a job's results one by one, in a thread of its own."""

    def __init__(self, job: Job) -> None:
        self.taken: list[tuple[int, Any]] = []
        self._job = job
        self._thread = threading.Thread(target=self._take, daemon=True)
        self._thread.start()

    def _take(self) -> None:
        self.taken += self._job.as_completed()

    def all(self, patience: float = 90.0) -> list[tuple[int, Any]]:
        self._thread.join(patience)
        return self.taken


def killed(seed: int, folder: Path, n_items: int = 1000, kills: int = 5) -> Tally:
    """SIGKILL workers at random moments of a job."""
    chance = random.Random(seed)
    ledger = Ledger(folder / "ledger")
    with session_in(folder / "home") as session:
        job = session.map(noted(ledger, chance.choice([0.0, 0.001, 0.003])), range(n_items))
        new_results = Arrivals(job)
        moments = sorted(chance.sample(range(0, n_items, KILLS_APART), kills))
        struck = 0
        for moment in moments:
            ledger.wait_for(moment, unless=lambda: job.state.is_final)
            if job.state.is_final:
                break
            with suppress(
                ProcessLookupError, IndexError
            ):  # the last one's successor is not there yet
                os.kill(chance.choice(worker_pids(session)), signal.SIGKILL)
                struck += 1
        return together([judge(n_items, new_results.all(), job.results())]) + Tally(
            runs=0,
            struck=struck,
            recomputed=recomputed(ledger),
            most={"items run again after one job's kills": recomputed(ledger)},
        )


def stopped(seed: int, folder: Path, n_items: int = 400, hold: float = 10.0) -> Tally:
    """SIGSTOP a worker at a random moment; SIGCONT when all else is done and `hold` seconds are over."""
    chance = random.Random(seed)
    ledger = Ledger(folder / "ledger")
    with session_in(folder / "home") as session:
        job = session.map(noted(ledger, chance.choice([0.0005, 0.005])), range(n_items))
        new_results = Arrivals(job)
        ledger.wait_for(chance.randrange(n_items // 2))
        victim = chance.choice(worker_pids(session))
        os.kill(victim, signal.SIGSTOP)
        begun = time.monotonic()
        try:
            # All but the item that it was at can be taken from it.
            ledger.wait_for(n_items - 1)
            rest = hold - (time.monotonic() - begun)
            if rest > 0:
                job.wait(rest)
        finally:
            os.kill(victim, signal.SIGCONT)
        tally = judge(n_items, new_results.all(), job.results())
        again = session.map(noted(Ledger(folder / "after"), 0.0), range(50)).results()
        survived = victim in worker_pids(session)
    surprises = () if survived else ("the worker that stood still was replaced",)
    return (
        tally
        + judge(50, enumerate(again), again)
        + Tally(runs=-1, struck=1, recomputed=recomputed(ledger), surprises=surprises)
    )
