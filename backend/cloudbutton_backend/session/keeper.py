"""Runs one detached job on this machine, in a process of its own that ends with it.

It is in a session of its own, so that neither the kernel's death nor a terminal's hang-up reaches it; it
opens no port: who wants to know how the job is, or to cancel it, asks the journal.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Final

from cloudbutton_backend.durable import job_file
from cloudbutton_backend.errors import BackendError, UnknownName
from cloudbutton_backend.journal import JournalReader
from cloudbutton_backend.storage import job_paths

KEEPER_STARTS_WITHIN: Final = 60.0
"""Seconds; a busy machine needs some for a new interpreter."""
_LOOK: Final = 0.02
_LONG: Final = 3600.0
_LOG_BYTES: Final = 256 * 1024
_SHOWN: Final = 1000
"""Characters of the log that an error shows."""
_ROOT: Final = str(Path(__file__).resolve().parents[2])
_CODE: Final = (
    "import sys; sys.path.insert(0, sys.argv[2]);"
    " from cloudbutton_backend.session.keeper import main; main(sys.argv[3], sys.argv[4])"
)
"""The kernel's environment stays as it is: tasks see it."""


def start_keeper(home: Path, job_id: str) -> None:
    """Start a keeper for a job that was written down; return once the job is in the journal.

    Raises
    ------
    BackendError
        It did not start.
    """
    log = job_paths.log_file(home, job_id)
    arguments = [sys.executable, "-c", _CODE, "cloudbutton-keeper", _ROOT, str(home), job_id]
    with open(log, "wb", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
        process = subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
            close_fds=True,
        )
    limit = time.monotonic() + KEEPER_STARTS_WITHIN
    reader = JournalReader(home)
    while not _is_listed(reader, job_id, process.pid):
        if process.poll() is not None or time.monotonic() > limit:
            process.kill()
            process.wait(KEEPER_STARTS_WITHIN)
            said = log.read_text("utf-8", "replace")[-_SHOWN:].strip()
            raise BackendError(
                f"The process that was to keep job {job_id} running did not start"
                f" ({log} has what it said). {said}"
            )
        time.sleep(_LOOK)
    # Its end has to be waited for, or it stays in the table of processes.
    threading.Thread(target=process.wait, name="cloudbutton-keeper-end", daemon=True).start()


def _is_listed(reader: JournalReader, job_id: str, pid: int) -> bool:
    try:
        return reader.job(job_id).pid == pid
    except UnknownName:
        return False


def main(home: str, job_id: str) -> None:
    """Run the job to its end."""
    from cloudbutton_backend.session.session import Session

    place = Path(home)
    _log_to(job_paths.log_file(place, job_id))
    kept = job_file.load(place, job_id)
    session = Session(place)
    try:
        session.use(kept.options.backend, **kept.settings)
        job = session.adopt(job_id)
        while not job.wait(_LONG):
            continue  # until it has ended, be it in days; `wait` raises once no process runs it any more
    finally:
        session.close()
    job_paths.log_file(place, job_id).unlink(missing_ok=True)  # nothing went wrong


def _log_to(path: Path) -> None:
    """Bound what is logged, and discard what libraries print."""
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    handler = RotatingFileHandler(path, maxBytes=_LOG_BYTES, backupCount=1, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    sys.excepthook = lambda kind, error, trace: logging.critical(
        "the keeper ended", exc_info=(kind, error, trace)
    )
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.dup2(nothing, 2)
    os.close(nothing)
