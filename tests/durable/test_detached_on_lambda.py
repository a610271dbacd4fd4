"""Detached jobs on Lambda: what their calls bring after the kernel has gone is collected, not run again."""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path

from cloudbutton_backend.backends.aws_lambda.backend import LambdaBackend
from cloudbutton_backend.backends.capabilities import Recovers
from cloudbutton_backend.job_model import JobState
from cloudbutton_backend.storage.home import home
from cloudbutton_backend.testing.conformance import TaskPlace
from tests.lambda_backend.conftest import new_backend, shared_emulator

from .conftest import row_of, until


def test_what_calls_left_after_their_kernel_had_gone_is_not_run_again(tmp_path: Path) -> None:
    folder = str(tmp_path)

    def work(x: int) -> int:
        open(os.path.join(folder, f"run-{x}-{time.monotonic_ns()}"), "w").close()
        while not os.path.exists(os.path.join(folder, "open")):
            time.sleep(0.005)
        return -x

    def begun() -> list[str]:
        return [name for name in os.listdir(folder) if name.startswith("run-")]

    first = TaskPlace(new_backend(shared_emulator()))
    job = first.start(work, [1, 2], detach=True)
    until(lambda: len(begun()) == 2)
    until(lambda: (row_of(job.id) or job.record).backend)
    first.session.journal.flush(10.0)
    first.session.close()
    with closing(sqlite3.connect(home() / "journal.db")) as journal, journal:
        journal.execute("UPDATE jobs SET token = token || '0' WHERE id = ?", (job.id,))
    row = row_of(job.id)
    assert row is not None and row.state is JobState.LOST
    (tmp_path / "open").touch()

    second = TaskPlace(new_backend(shared_emulator()))
    assert isinstance(second.backend, LambdaBackend) and isinstance(second.backend, Recovers)
    second.session.warm_up("lambda", 30.0)
    until(lambda: sum(each.count for each in second.backend.recover(job.id)) == 2)
    again = second.session.attach(job.id)
    assert again.results() == [-1, -2]
    assert len(begun()) == 2
    second.session.close()
