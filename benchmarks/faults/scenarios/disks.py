"""Disks that are full, or slow, or whose journal somebody else keeps locked."""

from __future__ import annotations

import random
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread
from typing import Any

from benchmarks.faults.judge import recomputed
from benchmarks.faults.kernels import kernel
from benchmarks.faults.tally import Tally, together
from benchmarks.faults.tasks import Ledger
from benchmarks.faults.waiting import wait_until
from cloudbutton_backend.job_model import JobState
from cloudbutton_backend.journal import JournalReader


def tally_of(said: dict[str, Any], n_items: int, state: str = "done") -> Tally:
    """Return what a process said of a job as a tally."""
    surprises = () if said["state"] == state else (f"a job was {said['state']}",)
    counts = {name: said[name] for name in ("lost", "doubled", "wrong")}
    return Tally(runs=0, items=n_items, surprises=surprises, **counts)


def journal_differs(home: Path, ids: list[str], n_items: int) -> tuple[str, ...]:
    """Return what the journal does not have as it was."""
    rows = {row.id: row for row in JournalReader(home).jobs(limit=-1)}
    found = []
    for job_id in ids:
        row = rows.get(job_id)
        if row is None:
            found.append(f"job {job_id} is not in the journal")
        elif row.state is not JobState.DONE or row.done != n_items:
            found.append(f"the journal has job {job_id} as {row.state.value}, {row.done} done")
    return tuple(found)


@contextmanager
def locked_now_and_then(path: Path, chance: random.Random, longest: float) -> Iterator[list[float]]:
    """Hold the write lock of a database for random times; yield them as they are over."""
    held: list[float] = []
    over = Event()

    def hold() -> None:
        wait_until(path.exists, "there was a journal")
        connection = sqlite3.connect(path, timeout=60.0, isolation_level=None)
        while not over.wait(chance.uniform(0.0, 0.3)):
            connection.execute("BEGIN IMMEDIATE")
            span = chance.uniform(0.0, longest)
            over.wait(span)
            connection.execute("ROLLBACK")
            held.append(span)
        connection.close()

    thread = Thread(target=hold, daemon=True)
    thread.start()
    try:
        yield held
    finally:
        over.set()
        thread.join()


def slow(
    seed: int,
    folder: Path,
    n_jobs: int = 6,
    n_items: int = 300,
    longest: float = 8.0,
    slowest_sync: float = 1.0,
) -> Tally:
    """Hold the journal's write lock for up to 8 s at a time, in a kernel whose fsync takes up to 1 s."""
    chance, home = random.Random(seed), folder / "home"
    how = {"seed": seed, "n_jobs": n_jobs, "n_items": n_items, "seconds": 0.004}
    how["slowest"] = slowest_sync
    ids, tallies = [], []
    with kernel("run_slow_syncs", home, folder=str(folder), **how) as child:
        with locked_now_and_then(home / "journal.db", chance, longest) as held:
            began = time.monotonic()
            for _ in range(n_jobs):
                said = child.hear()
                ids.append(said["id"])
                tallies.append(tally_of(said, n_items))
            took = time.monotonic() - began
        end = child.hear()
    again = sum(recomputed(Ledger(folder / f"ledger-{number}")) for number in range(n_jobs))
    missing = journal_differs(home, ids, n_items)
    if not end["flushed"]:
        missing = (*missing, f"the journal was not written: {end['trouble']}")
    return together(tallies) + Tally(
        struck=len(held),
        recomputed=again,
        surprises=missing,
        most={
            "seconds that the lock was held at a time": max(held, default=0.0),
            "seconds for all jobs": took,
        },
    )


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[Path | None]:
    """Yield a file system of its own with so many bytes; None where this user may not mount one."""
    folder.mkdir(mode=0o700)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "tmpfs", str(folder)]
    is_mounted = bool(shutil.which("mount")) and not subprocess.call(
        mount, stderr=subprocess.DEVNULL
    )
    try:
        yield folder if is_mounted else None
    finally:
        if is_mounted:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Write a file that takes all that is left."""
    ballast = folder / "ballast"
    with suppress(OSError), open(ballast, "wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    return ballast


def full(seed: int, folder: Path, n_items: int = 300) -> Tally:
    """Fill the journal's disk at a random moment of a job, and free it at a later one."""
    chance = random.Random(seed)
    ledger = Ledger(folder / "ledger-0")
    moments = sorted(chance.sample(range(n_items), 2))
    how = {"n_jobs": 2, "n_items": n_items, "seconds": 0.004}
    with small_disk(folder / "home", 32 << 20) as home:
        if home is None:
            return limited(folder, how)
        with kernel("run_many", home, folder=str(folder), **how) as child:
            ledger.wait_for(moments[0])
            ballast = fill(home)
            ledger.wait_for(moments[1])
            if chance.random() < 0.5:  # else it stays full until the job has ended
                ballast.unlink()
            first = child.hear()
            ballast.unlink(missing_ok=True)
            second, end = child.hear(), child.hear()
        differs = journal_differs(home, [first["id"], second["id"]], n_items)
        if not end["flushed"]:
            differs = (*differs, f"the journal did not catch up: {end['trouble']}")
    again = sum(recomputed(Ledger(folder / f"ledger-{number}")) for number in range(2))
    tallies = [tally_of(said, n_items) for said in (first, second)]
    noticed = bool(first["warnings"] or end["trouble"])  # else nothing was written meanwhile
    return together(tallies) + Tally(struck=noticed, recomputed=again, surprises=differs)


def limited(folder: Path, how: dict[str, Any]) -> Tally:
    """Where nothing can be mounted: run the same where no file may grow beyond 1 MB."""
    home = folder / "home"
    with kernel("run_small_files", home, folder=str(folder), limit=1_000_000, **how) as child:
        tallies = [tally_of(child.hear(), how["n_items"]) for _ in range(how["n_jobs"])]
    again = sum(recomputed(Ledger(folder / f"ledger-{number}")) for number in range(how["n_jobs"]))
    return together(tallies) + Tally(struck=1, recomputed=again)
