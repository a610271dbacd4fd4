"""Runs cells in subprocesses, engines taking turns, so that the machine's drift hits all alike."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.memory import PeakMemory
from benchmarks.model import Case, Cell, EngineSpec, Reading
from benchmarks.neighbours import Neighbours
from benchmarks.reaping import reaped

#: How long a process may take to shut its pool down once its reading is safe.
CLOSING_SECONDS = 5.0

_ROOT = Path(__file__).resolve().parent.parent


@dataclass
class Results:
    """The readings of one case: per cell, one mapping for each run."""

    case: Case
    runs: dict[Cell, list[dict[str, Reading]]] = field(default_factory=dict)
    neighbours: dict[Cell, list[float]] = field(default_factory=dict)
    """CPUs that other programs kept busy during each run that brought a reading."""


@dataclass(frozen=True)
class Runner:
    """Starts the subprocesses, all with the same private folders for state."""

    home: Path
    """Journal, IPython profile and readings of this run; the user's own stay untouched."""

    def why_missing(self, engine: EngineSpec) -> str | None:
        """Return why the engine cannot be used here, or None if it can."""
        probe = subprocess.run(
            [sys.executable, "-c", f"from {engine.module} import Engine"],
            capture_output=True,
            check=False,
            text=True,
            env=self._environment(),
        )
        if probe.returncode == 0:
            return None
        return (probe.stderr.strip().splitlines() or ["it says nothing"])[-1]

    def run_case(
        self, case: Case, engines: Sequence[EngineSpec], *, runs: int, seconds: float
    ) -> Results:
        """Measure every cell up to `runs` times in turns; one that has used `seconds` stops."""
        results = Results(case)
        cells = case.cells(tuple(engines))
        spent = dict.fromkeys(cells, 0.0)
        for turn in range(runs):
            for cell in cells:
                if turn >= case.least_runs and spent[cell] >= seconds:
                    continue
                start, neighbours = time.perf_counter(), Neighbours()
                readings = self._run_cell(case, cell)
                spent[cell] += time.perf_counter() - start
                results.runs.setdefault(cell, []).append(readings)
                if "error" not in readings:  # after a kill, not all of our own CPU time is known
                    results.neighbours.setdefault(cell, []).append(neighbours.cpus())
        return results

    def _run_cell(self, case: Case, cell: Cell) -> dict[str, Reading]:
        file = self.home / "reading.json"
        file.unlink(missing_ok=True)
        child = subprocess.Popen(
            [
                *(sys.executable, "-m", "benchmarks.child", case.name, cell.engine.name),
                *("default" if cell.chunk is None else str(cell.chunk), str(file)),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=self._environment(),
            start_new_session=True,
        )
        with reaped(child):
            watch = PeakMemory(child.pid) if case.samples_memory else None
            deadline = time.monotonic() + case.timeout
            # The reading comes before the pool's shutdown; a pool that hangs there keeps it.
            while child.poll() is None and not file.exists() and time.monotonic() < deadline:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.wait(0.05)
            peak = watch.stop() if watch else 0
            if file.exists():
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.wait(CLOSING_SECONDS)
        if not file.exists():
            late = child.returncode == -signal.SIGKILL
            reason = f"not done in {case.timeout:g} s" if late else f"exits with {child.returncode}"
            return {"error": reason}
        readings: dict[str, Reading] = json.loads(file.read_text(encoding="utf-8"))
        if watch and "error" not in readings:
            readings["peak_mb"] = peak / 1e6
        return readings

    def _environment(self) -> dict[str, str]:
        path = [str(_ROOT), str(_ROOT / "kernel_magic"), str(_ROOT / "backend")]
        if inherited := os.environ.get("PYTHONPATH"):
            path.append(inherited)
        own = {k: v for k, v in os.environ.items() if not k.startswith("CLOUDBUTTON_")}
        return {
            **own,  # without the user's settings: defaults only
            "XDG_CONFIG_HOME": str(self.home / "config"),
            "PYTHONPATH": os.pathsep.join(path),
            "CLOUDBUTTON_HOME": str(self.home / "cloudbutton"),
            "IPYTHONDIR": str(self.home / "ipython"),
            "TMPDIR": str(self.home / "tmp"),  # what a killed process leaves goes with us
        }


@contextlib.contextmanager
def private_runner() -> Iterator[Runner]:
    """Yield a runner whose state lives in a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        (Path(folder) / "tmp").mkdir()
        yield Runner(Path(folder))
