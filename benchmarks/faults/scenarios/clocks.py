"""A clock that jumps by hours."""

from __future__ import annotations

from pathlib import Path

from benchmarks.faults.judge import recomputed
from benchmarks.faults.kernels import kernel
from benchmarks.faults.scenarios.disks import journal_differs, tally_of
from benchmarks.faults.tally import Tally, together
from benchmarks.faults.tasks import Ledger
from cloudbutton_backend.journal import JournalReader


def jumping(seed: int, folder: Path, n_jobs: int = 5, n_items: int = 200) -> Tally:
    """Have the kernel's clock jump by up to 12 hours, to and fro, ten times a second."""
    home = folder / "home"
    how = {"seed": seed, "hours": 12.0, "n_jobs": n_jobs, "n_items": n_items, "seconds": 0.004}
    ids, tallies, seen = [], [], []
    with kernel("run_while_clock_jumps", home, folder=str(folder), **how) as child:
        for _ in range(n_jobs):
            said = child.hear()
            ids.append(said["id"])
            tallies.append(tally_of(said, n_items))
            # Others, whose clock is right, do not take its jobs for lost.
            seen += [row.state.value for row in JournalReader(home).jobs() if row.state == "lost"]
        child.hear()
    again = sum(recomputed(Ledger(folder / f"ledger-{number}")) for number in range(n_jobs))
    surprises = (*journal_differs(home, ids, n_items), *(f"seen as {state}" for state in seen))
    return together(tallies) + Tally(struck=1, recomputed=again, surprises=surprises)
