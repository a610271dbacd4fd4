"""Jobs that the journal does not have: their process died before it was written, or the journal is gone.

Results are on disk before they are announced; what a job needs to be continued, and its row in the
journal, about a tenth of a second later, whichever is first.
"""

from __future__ import annotations

import os
import re
import socket
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from cloudbutton_backend.durable import job_file
from cloudbutton_backend.durable.salvage import result_files
from cloudbutton_backend.errors import Tampered, UnknownName
from cloudbutton_backend.job_model import JobState
from cloudbutton_backend.journal import JobRow, JournalReader


def unrecorded(home: Path, results: Path, job_id: str) -> JobRow:
    """Return what its own files tell of a job.

    Where they suffice to continue it, it is in the journal from now on.

    Raises
    ------
    UnknownName
        There are none.
    """
    known = re.fullmatch("[a-z0-9]+", job_id)  # it becomes part of a path, and of a pattern
    if known and _record(home, job_id):
        return JournalReader(home).job(job_id)
    files = result_files(results, job_id) if known else []
    if not files:
        raise UnknownName("job", job_id, ())
    last = max(path.stat().st_mtime for _, _, path in files)
    return JobRow(
        id=job_id,
        name=job_id,
        kind="map",
        backend="local",
        n_items=None,
        created=last,
        pid=0,
        host=socket.gethostname(),
        state=JobState.LOST,
        heartbeat=last,
    )


def _record(home: Path, job_id: str) -> bool:
    """Write a job's row from its own file; return False if it has none that can be read."""
    from cloudbutton_backend.journal.tables import JournalTables  # sqlite3: seldom needed

    try:
        record = job_file.load(home, job_id).record
    except (OSError, Tampered):
        return False
    if record.pid == os.getpid():  # not one that this process holds: it had the pid before us
        record = replace(record, pid=0)
    # Its last sign of life is long ago, but for what the system says of its process.
    with closing(JournalTables(home, clock=lambda: 0.0)) as store:
        store.write([record])
    return True
