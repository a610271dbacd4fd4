"""Kernels that are killed in the middle of a job, which another process goes on with."""

from __future__ import annotations

import random
import time
from pathlib import Path

from benchmarks.faults.judge import recomputed
from benchmarks.faults.kernels import kernel
from benchmarks.faults.tally import Tally
from benchmarks.faults.tasks import Ledger


def killed(seed: int, folder: Path, n_items: int = 400) -> Tally:
    """SIGKILL the kernel at a random moment of a job, then attach to the job in a new process."""
    chance = random.Random(seed)
    ledger, announced = Ledger(folder / "ledger"), Ledger(folder / "announced")
    home = folder / "home"
    seconds = chance.choice([0.0, 0.002, 0.01])
    with kernel("run", home, folder=str(folder), n_items=n_items, seconds=seconds) as first:
        job_id = first.hear()["id"]
        ledger.wait_for(chance.randrange(n_items + 1))
        time.sleep(chance.choice([0.0, chance.uniform(0.0, 0.05)]))
        first.kill()
    had = announced.counts()
    begun = ledger.counts()
    with kernel("attach", home, id=job_id, n_items=n_items) as second:
        at_once = set(second.hear()["at_once"])
        said = second.hear()
    after = ledger.counts()
    # What had been announced is there at once, and is not run again.
    gone = {index for index in had if index not in at_once or after[index] > begun[index]}
    again = recomputed(ledger)
    surprises = () if said["state"] == "done" else (f"seed {seed}: {said['state']}",)
    return Tally(
        struck=1,
        items=n_items,
        lost=said["lost"] + len(gone),
        doubled=said["doubled"],
        wrong=said["wrong"],
        recomputed=again,
        surprises=surprises,
        most={"items run again after one kill": again},
    )
