"""Jobs that were read, and whose process is gone: what may be removed."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path


def abandon_finished_jobs(home: Path) -> None:
    """Have the journal say of all finished jobs that they were read and that their process is gone."""
    with closing(sqlite3.connect(home / "journal.db")) as journal, journal:
        # Another start time than that of the process with this pid.
        journal.execute(
            "UPDATE jobs SET token = token || '0', was_read = 1"
            " WHERE state IN ('done', 'failed', 'cancelled')"
        )
