"""Other processes that write the journal."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

started: list[subprocess.Popen[str]] = []


def in_another_process(home: Path, body: str) -> subprocess.Popen[str]:
    """Start a Python process that has `journal` and `a_job`; it ends with the test."""
    path = os.pathsep.join(str(ROOT / part) for part in (".", "kernel_magic", "backend"))
    process = subprocess.Popen(
        [sys.executable, "-c", PRELUDE.format(home=str(home)) + body],
        env=os.environ | {"PYTHONPATH": path, "CLOUDBUTTON_HOME": str(home)},
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    started.append(process)
    return process


PRELUDE = """
import os, socket, time
from pathlib import Path
from cloudbutton_backend.job_model import JobRecord
from cloudbutton_backend.journal import Journal

journal = Journal.open(Path({home!r}))

def a_job():
    return JobRecord(id="abcd2345", name="scores", kind="map", backend="local", n_items=10,
                     created=time.time(), pid=os.getpid(), host=socket.gethostname())

"""
