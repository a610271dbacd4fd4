"""Clusters as users start them: a scheduler and workers, each a command of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

PATIENCE = 60.0


def until(happened: Callable[[], object], what: str, seconds: float = PATIENCE) -> None:
    """Wait for something at the edge of a process."""
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, f"{what} did not happen within {seconds:g} s"
        threading.Event().wait(0.02)


class Commands:
    """A scheduler and workers; where they run, something else has our backend's name."""

    def __init__(self, workers: int = 2, *options: str, protocol: str = "tcp") -> None:
        self._folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self.folder = Path(self._folder.name)
        self._files = 0
        package = self.folder / "other" / "cloudbutton_backend"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text("VERSION = 'another'\n")
        self._protocol, self._options = protocol, options
        self.scheduler = self.start_scheduler()
        self.workers: list[subprocess.Popen[bytes]] = []
        for _ in range(workers):
            self.start_worker()

    def _run(self, module: str, *options: str) -> subprocess.Popen[bytes]:
        environment = {
            **os.environ,
            "PYTHONPATH": str(self.folder / "other"),
            "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "1",
        }
        self._files += 1
        with open(self.folder / f"{self._files}.log", "wb") as log:
            return subprocess.Popen(
                [sys.executable, "-W", "ignore", "-m", f"distributed.cli.{module}", *options],
                cwd=self.folder,
                env=environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def start_scheduler(self, port: int = 0) -> subprocess.Popen[bytes]:
        file = self.folder / "scheduler.json"
        file.unlink(missing_ok=True)
        options = ["--host", "127.0.0.1", "--port", str(port), "--no-dashboard"]
        options += ["--protocol", self._protocol, *self._options]
        options += ["--dashboard-address", "127.0.0.1:0", "--scheduler-file", str(file)]
        scheduler = self._run("dask_scheduler", *options)
        until(lambda: file.exists() and file.read_text().endswith("}"), "a scheduler's start")
        self.address: str = json.loads(file.read_text())["address"]
        return scheduler

    def start_worker(self, *options: str) -> subprocess.Popen[bytes]:
        scratch = self.folder / f"worker-{len(self.workers)}"
        usual = ["--nthreads", "1", "--no-dashboard", "--local-directory", str(scratch)]
        worker = self._run("dask_worker", self.address, *usual, *self._options, *options)
        self.workers.append(worker)
        return worker

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])

    def log(self) -> str:
        return "\n".join(path.read_text("utf-8", "replace") for path in self.folder.glob("*.log"))

    @staticmethod
    def kill(process: subprocess.Popen[bytes]) -> None:
        """End a command and all that it started, at once."""
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)

    def close(self) -> None:
        for process in [*self.workers, self.scheduler]:
            self.kill(process)
        self._folder.cleanup()
