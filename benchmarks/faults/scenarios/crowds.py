"""Many jobs at once: from threads of one kernel, and from two kernels with one journal."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from threading import Event, Thread
from typing import Any

from benchmarks.faults.judge import judge, recomputed
from benchmarks.faults.kernels import kernel
from benchmarks.faults.scenarios.disks import journal_differs, tally_of
from benchmarks.faults.scenarios.workers import session_in
from benchmarks.faults.tally import Tally, together
from benchmarks.faults.tasks import Ledger, value
from cloudbutton_backend.job.job import Job
from cloudbutton_backend.journal import JournalReader, gc
from cloudbutton_backend.session.session import Session


def numbered(number: int) -> Callable[[int], tuple[int, Any]]:
    """Return a function whose values tell which job they belong to."""

    def run(index: int) -> tuple[int, Any]:
        return number, value(index)

    return run


def threads(seed: int, folder: Path, n_jobs: int = 50, most_items: int = 400) -> Tally:
    """Start 50 jobs at once, each from a thread of its own, of different lengths."""
    chance = random.Random(seed)
    sizes = [chance.randrange(most_items) for _ in range(n_jobs)]
    ends: dict[int, Tally] = {}
    with session_in(folder / "home") as session:
        workers = [
            Thread(target=lambda k: ends.update({k: _run(session, k, sizes[k])}), args=(k,))
            for k in range(n_jobs)
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(120.0)
        ids = {job.id: job.n_items for job in session.jobs()}
        session.journal.flush(60.0)
        missing: tuple[str, ...] = ()
        for job_id, size in ids.items():
            missing += journal_differs(folder / "home", [job_id], size or 0)
    hung = tuple(f"the thread of job {k} did not end" for k in range(n_jobs) if k not in ends)
    return together(ends.values()) + Tally(
        runs=1 - len(ends), struck=n_jobs, surprises=(*missing, *hung)
    )


def _run(session: Session, number: int, size: int) -> Tally:
    try:
        job: Job = session.map(numbered(number), range(size))
        arrived = list(job.as_completed())
        results = job.results()
    except Exception as error:
        return Tally(surprises=(f"job {number}: {error!r}",))
    foreign = sum(of != number for of, _ in results)
    plain = [(index, got) for index, (_, got) in arrived]
    return judge(size, plain, [got for _, got in results]) + Tally(runs=0, wrong=foreign)


def kernels(seed: int, folder: Path, n_jobs: int = 20, n_items: int = 100) -> Tally:
    """Run jobs in two kernels with one journal, while a third process lists and cleans it."""
    home = folder / "home"
    home.mkdir(mode=0o700)
    over, trouble = Event(), []

    def clean() -> None:
        while not over.wait(0.05):
            try:
                JournalReader(home).jobs()
                gc(home, max_bytes=1 << 40, max_age=3600.0)
            except Exception as error:
                trouble.append(f"cleaning: {error!r}")

    cleaner = Thread(target=clean, daemon=True)
    cleaner.start()
    ids, tallies = [], []
    how = {"folder": str(folder), "n_jobs": n_jobs, "n_items": n_items, "seconds": 0.001}
    with ExitStack() as stack:
        both = [
            stack.enter_context(kernel("run_many", home, first=seed + k * n_jobs, **how))
            for k in range(2)
        ]
        for child in both:
            for _ in range(n_jobs):
                said = child.hear()
                ids.append(said["id"])
                tallies.append(tally_of(said, n_items))
            end = child.hear()
            if not end["flushed"] or end["trouble"]:
                trouble.append(f"a kernel's journal: {end['trouble']}")
    over.set()
    cleaner.join()
    again = sum(
        recomputed(Ledger(folder / f"ledger-{seed + number}")) for number in range(2 * n_jobs)
    )
    surprises = (*trouble, *journal_differs(home, ids, n_items))
    return together(tallies) + Tally(struck=2 * n_jobs, recomputed=again, surprises=surprises)
