"""Kernels that are killed in the middle of a job, which other processes go on with."""

from __future__ import annotations

import random
import time
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks.faults.judge import recomputed
from benchmarks.faults.kernels import Kernel, kernel
from benchmarks.faults.scenarios.disks import tally_of
from benchmarks.faults.tally import Tally
from benchmarks.faults.tasks import Ledger


def killed(seed: int, folder: Path, n_items: int = 400, most_kills: int = 3) -> Tally:
    """SIGKILL the kernel at a random moment of a job, attach in a new process, which may be killed too."""
    chance = random.Random(seed)
    kills = chance.randint(1, most_kills)
    moments = sorted(chance.randrange(n_items + 1) for _ in range(kills))
    story = _Story(folder, chance, n_items)
    seconds = chance.choice([0.0, 0.002, 0.01])
    with kernel("run", story.home, folder=str(folder), n_items=n_items, seconds=seconds) as life:
        job_id = life.hear()["id"]
        story.kill(life, moments[0])
    for moment in moments[1:]:
        with kernel("attach", story.home, id=job_id, folder=str(folder), n_items=n_items) as life:
            if chance.random() < 0.3:  # while it attaches
                time.sleep(chance.uniform(0.0, 0.4))
                life.kill()
            elif "cannot" not in story.take_stock(life):
                story.kill(life, moment)
    with kernel("attach", story.home, id=job_id, folder=str(folder), n_items=n_items) as life:
        said = story.take_stock(life)
        if "cannot" not in said:
            said = life.hear()
    return story.end(said, kills)


def contended(seed: int, folder: Path, n_items: int = 400) -> Tally:
    """SIGKILL the kernel, attach from two new processes at once, and SIGKILL one of these."""
    chance = random.Random(seed)
    moments = sorted(chance.randrange(n_items + 1) for _ in range(2))
    story = _Story(folder, chance, n_items)
    seconds = chance.choice([0.002, 0.01])
    with kernel("run", story.home, folder=str(folder), n_items=n_items, seconds=seconds) as life:
        job_id = life.hear()["id"]
        story.kill(life, moments[0])
    how = {"id": job_id, "folder": str(folder), "n_items": n_items}
    with kernel("attach", story.home, **how) as one, kernel("attach", story.home, **how) as other:
        found = [life.hear() for life in (one, other)]
        first, last = chance.sample([one, other], 2)
        if not any("cannot" in said for said in found):
            story.kill(first, moments[1])
        said = found[-1] if "cannot" in found[-1] else last.hear()
    return story.end(said, kills=2)


class _Story:
    """What is seen of a job from outside, over the lives of the processes that run it."""

    def __init__(self, folder: Path, chance: random.Random, n_items: int) -> None:
        self.home = folder / "home"
        self._ledger, self._announced = Ledger(folder / "ledger"), Ledger(folder / "announced")
        self._chance = chance
        self._n_items = n_items
        self._had: Counter[int] = Counter()
        """How often the items had run whose results were announced before a kill."""
        self._gone: set[int] = set()

    def kill(self, life: Kernel, moment: int) -> None:
        """Kill a kernel when so many items have begun, or a little later."""
        self._ledger.wait_for(moment, unless=lambda: life.process.poll() is not None)
        time.sleep(self._chance.choice([0.0, self._chance.uniform(0.0, 0.05)]))
        life.kill()
        announced, begun = self._announced.counts(), self._ledger.counts()
        self._had.update({index: begun[index] for index in announced if index not in self._had})

    def take_stock(self, life: Kernel) -> dict[str, Any]:
        """Hear what one who attaches finds; all that was announced before must be there."""
        said = life.hear()
        self._gone |= self._had.keys() - set(said["at_once"])
        return said

    def end(self, said: dict[str, Any], kills: int) -> Tally:
        """Judge the whole of it."""
        ran = self._ledger.counts()
        again = {index for index, times in self._had.items() if ran[index] > times}
        tally = Tally(
            struck=kills,
            items=self._n_items,
            lost=len(self._gone | again),
            recomputed=recomputed(self._ledger),
            most={"items run again after one kill": recomputed(self._ledger) / kills},
        )
        if said["cannot"]:
            return tally + Tally(runs=0, notes=Counter({_kind(said["cannot"]): 1}))
        return tally + tally_of(said, 0)


def _kind(reason: str) -> str:
    """Return why a job could not be continued, without what is particular to it."""
    if "was not written to disk" in reason:
        return (
            "killed before what the job needs was written: its results can be read, not continued"
        )
    if reason.startswith("Unknown job"):
        return "killed before anything was written"
    return reason
