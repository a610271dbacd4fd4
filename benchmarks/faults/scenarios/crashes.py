"""Processes that are killed before, in the middle of, or after one of the writes that a job makes."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, Final

from benchmarks.faults.crash_points import PHASES
from benchmarks.faults.kernels import kernel
from benchmarks.faults.scenarios.disks import tally_of
from benchmarks.faults.tally import Tally
from benchmarks.faults.tasks import Ledger
from benchmarks.faults.waiting import wait_until
from cloudbutton_backend.durable.item_file import StoredItems
from cloudbutton_backend.storage import job_paths, sealed_files

WRITES: Final = {"run_cached": 70, "attach": 36, "keep": 40}
"""Of a kernel from a job's beginning to the process's end, of one that attaches, and of the keeper of a
detached job: as many as each makes, and some more, as the journal's transactions are a matter of time. A
trial beyond the last one kills nothing."""
TRIALS: Final = [
    (role, at, phase) for role, most in WRITES.items() for at in range(most) for phase in PHASES
]
_ITEMS, _SECONDS = 14, 0.03


def at_a_write(number: int, folder: Path) -> Tally:
    """Kill a process before, in the middle of or after one of its writes, each in its turn, and attach."""
    return _Trial(folder, *TRIALS[number % len(TRIALS)]).run()


def writes_of(role: str, folder: Path) -> list[str]:
    """Return what a process writes in its home that nobody kills."""
    trial = _Trial(folder, role, -1, "before")
    trial.run()
    return trial.writes


class _Trial:
    """One job, of which one process is killed at one write."""

    def __init__(self, folder: Path, role: str, at: int, phase: str) -> None:
        self._folder, self._home, self._log = folder, folder / "home", folder / "writes"
        self._ledger, self._announced = Ledger(folder / "ledger"), Ledger(folder / "announced")
        self._role, self._at = role, at
        self._crash: dict[str, Any] = {
            "plays": role,
            "at": at,
            "phase": phase,
            "log": str(self._log),
        }
        self._work: dict[str, Any] = {"folder": str(folder), "n_items": _ITEMS}

    def run(self) -> Tally:
        """Return what became of the job."""
        job_id = {"run_cached": self._run, "attach": self._go_on, "keep": self._keep}[self._role]()
        if not 0 <= self._at < len(self.writes):  # it makes no more
            return Tally()
        if job_id is None:
            return self._tally(notes=Counter({"killed before the job had an id": 1}))
        announced, ran = set(self._announced.counts()), self._ledger.counts()
        could_run = self._could_run(job_id)
        said, end = self._attach(job_id)
        lost = announced - set(said["at_once"])
        lost |= {index for index in announced if self._ledger.counts()[index] > ran[index]}
        tally = self._tally(lost=len(lost))
        if reason := end["cannot"]:
            tally += Tally(runs=0, notes=Counter({"could not be continued": 1}))
            if could_run or len(announced) == _ITEMS:
                tally += Tally(runs=0, surprises=(f"{self._crash} was refused: {reason}",))
            return tally
        done = self._ledger.counts()
        _, again = self._attach(job_id)
        if again["cannot"] or self._ledger.counts() != done:
            tally += Tally(runs=0, surprises=(f"{self._crash}: attaching again {again}",))
        return tally + tally_of(end, 0) + tally_of(again, 0) if not again["cannot"] else tally

    def _tally(self, **counts: Any) -> Tally:
        most = {f"writes of `{self._role}`": float(len(self.writes))}
        return Tally(struck=1, items=_ITEMS, most=most, **counts)

    @property
    def writes(self) -> list[str]:
        """The writes that the process came to."""
        return self._log.read_text().splitlines()

    def _attach(self, job_id: str) -> tuple[dict[str, Any], dict[str, Any]]:
        with kernel("attach", self._home, id=job_id, **self._work) as life:
            said = life.hear()
            return said, said if "cannot" in said else life.hear()

    def _until_it_ends(self, **how: Any) -> str | None:
        """Play the role until it is killed or has ended; return the first id it says."""
        with kernel("crash", self._home, **self._crash, **how) as life:
            try:
                job_id: str | None = life.hear().get("id")
            except RuntimeError:
                job_id = None
            wait_until(lambda: life.process.poll() is not None, "it ended")
        return job_id

    def _run(self) -> str | None:
        return self._until_it_ends(**self._work, seconds=_SECONDS)

    def _go_on(self) -> str:
        with kernel("run", self._home, **self._work, seconds=_SECONDS) as life:
            job_id: str = life.hear()["id"]
            wait_until(lambda: self._could_run(job_id), "it could be continued")
            self._ledger.wait_for(_ITEMS // 2)
        self._until_it_ends(**self._work, id=job_id)
        return job_id

    def _keep(self) -> str:
        with kernel("write_down", self._home, **self._work, seconds=_SECONDS) as life:
            job_id: str = life.hear()["id"]
        self._until_it_ends(id=job_id)
        return job_id

    def _could_run(self, job_id: str) -> bool:
        """Whether all that the job needs to be continued is on the disk."""
        if not job_paths.job_file(self._home, job_id).exists():
            return False
        path = job_paths.items_file(self._home, job_id)
        return not StoredItems(path, sealed_files.key(self._home)).missing([(0, _ITEMS)])
