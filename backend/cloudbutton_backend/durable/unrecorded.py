"""Jobs of which there are results and nothing else: their process died before the journal had them."""

from __future__ import annotations

import re
import socket
from pathlib import Path

from cloudbutton_backend.durable.salvage import result_files
from cloudbutton_backend.jobs import JobState
from cloudbutton_backend.journal import JobRow


def unrecorded(results: Path, job_id: str) -> JobRow | None:
    """Return what can be said of a job by its result files; None if it has none.

    Results are on disk before they are announced, the job itself up to a tenth of a second later.
    """
    files = result_files(results, job_id) if re.fullmatch("[a-z0-9]+", job_id) else []
    if not files:
        return None
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
