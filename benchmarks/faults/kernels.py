"""Other processes that run jobs: started with a role, heard line by line, killed at will."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.faults.waiting import PATIENCE


class Kernel:
    """A process with a role of `roles`. What it says are JSON objects, one a line."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self._heard: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._errors: list[str] = []
        self._threads = [
            threading.Thread(target=self._listen, daemon=True),
            threading.Thread(target=self._keep_errors, daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("{") and line.endswith("}\n"):  # else its last one, cut off
                self._heard.put(json.loads(line))
        self._heard.put(None)

    def _keep_errors(self) -> None:
        assert self.process.stderr is not None
        self._errors += self.process.stderr

    def hear(self, patience: float = PATIENCE) -> dict[str, Any]:
        """Return the next thing it says.

        Raises
        ------
        RuntimeError
            If it ended or fell silent instead, with what it wrote to its standard error.
        """
        try:
            said = self._heard.get(timeout=patience)
        except queue.Empty:
            self.kill()
            said = None
        if said is None:
            self._threads[1].join(5)
            text = "".join(self._errors[-30:])
            raise RuntimeError(f"the kernel said nothing (code {self.process.poll()}):\n{text}")
        return said

    def tell(self, line: str = "") -> None:
        """Have it go on."""
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.wait()


@contextmanager
def kernel(role: str, home: Path, **arguments: Any) -> Iterator[Kernel]:
    """Start a process that plays a role with its journal in `home`; it is gone after the block."""
    root = Path(__file__).resolve().parents[2]
    paths = [str(root), str(root / "kernel_magic"), str(root / "backend")]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([*paths, os.environ.get("PYTHONPATH", "")]),
        "CLOUDBUTTON_HOME": str(home),
    }
    command = [sys.executable, "-m", "benchmarks.faults.roles", role, json.dumps(arguments)]
    with subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        started = Kernel(process)
        try:
            yield started
        finally:
            started.kill()
