"""The records in result files, as those who attach to a job read them."""

from __future__ import annotations

from pathlib import Path

from cloudbutton_backend.storage.sealed_files import results_key
from cloudbutton_backend.worker.result_file import FileRecord, read_records


def records_in(path: Path) -> list[FileRecord]:
    """Return the records of a result file of a home; damage is an error."""
    key = results_key(path.parent.parent, path.name.split(".")[0])
    return list(read_records(str(path), key))
