"""Writes down what a job leaves behind: results in its file, the rest in the journal."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final, Literal

from cloudbutton_backend.backends.protocol import Results
from cloudbutton_backend.dispatch.actions import BatchLost
from cloudbutton_backend.job_model import BatchRecord
from cloudbutton_backend.journal import ErrorRecord, Journal, LogRecord
from cloudbutton_backend.results.log_records import line_of
from cloudbutton_backend.results.result_file import ResultFile
from cloudbutton_backend.results.result_record import ResultRecord, summary_line
from cloudbutton_backend.results.tracebacks import traceback_text
from cloudbutton_backend.units import size
from cloudbutton_backend.worker.batch_meta import BatchMeta
from cloudbutton_backend.worker.failures import PackedError

_OUTPUT_ROOM: Final = 8 << 20
"""Characters of printed output a job keeps in memory."""
_LOOK_EVERY: Final = 64 << 20
"""Bytes of results between checks whether they are more than is kept."""
_A_DISPLAY: Final = 20_000
"""What a displayed object counts as, in characters."""


class JobRecorder:
    """Keeps the records of one job. Used on the driver's thread; what it shows is for reading.

    Parameters
    ----------
    results
        Prefix of the job's result files; None to keep everything in memory.
    before
        How many items of the same loop ran before the job's first: those written down are counted
        as the user counts them.
    key
        Seals the job's own result file.
    most_kept
        Returns how many bytes are kept of all jobs together.
    """

    def __init__(
        self,
        job_id: str,
        journal: Journal,
        results: Path | None,
        before: int = 0,
        key: bytes = b"",
        most_kept: Callable[[], int] = lambda: sys.maxsize,
    ) -> None:
        self.batches: list[BatchRecord] = []
        self.lost_workers = 0
        self.last_lines: list[str] = []
        self._job_id = job_id
        self._journal = journal
        self._before = before
        self._warnings: list[str] = []
        self._file = ResultFile(
            None if results is None else Path(f"{results}.seg"),
            opened=journal.sync_file,
            changed=self._journal_warnings,
            key=key,
        )
        self._most_kept = most_kept
        self._nbytes, self._look_at = 0, _LOOK_EVERY
        self._output_room = _OUTPUT_ROOM
        self._first_error: tuple[int, str] | None = None

    def go_on(
        self, batches: Sequence[BatchRecord], lost_workers: int, warnings: Iterable[str]
    ) -> None:
        """Take over what an earlier process has recorded of the job."""
        self.batches.extend(batches)
        self.lost_workers = lost_workers
        for line in warnings:
            self.warn(line)

    @property
    def first_error(self) -> str | None:
        """One line about the first failed item in the order of the items."""
        return self._first_error[1] if self._first_error else None

    @property
    def warnings(self) -> list[str]:
        """Lines for the user, those about the disk and the journal as they are now."""
        now = (self._file.notice, self._journal.trouble)
        return [*self._warnings, *(line for line in now if line)]

    def _journal_warnings(self) -> None:
        self._journal.update_job(self._job_id, warnings=self.warnings)

    def accept(self, results: Results, skip: frozenset[int], cost: float = 0.0) -> ResultRecord:
        """Put results on disk, with what the call that brought them cost; return where they are."""
        self._show_journal_notices()
        meta = results.meta
        entry = ResultRecord(
            results.first,
            results.count,
            meta,
            results.payload,
            results.path,
            results.offset,
            results.length,
            self._before,
            results.crc,
        )
        if results.path is not None:
            self._journal.sync_file(Path(results.path))
        elif results.payload is not None:  # a small one, or one that the worker could not write
            self._file.write(results.batch, entry)
        failed = {at: packed for at, packed in meta.errors.items() if entry.first + at not in skip}
        self._note_size(results.length)
        self._note_outputs(entry)
        self._note_errors(entry, failed)
        self._note_batch(results, len(failed), cost)
        if meta.changed:
            self._note_changed(meta.changed)
        return entry

    def memory_is_short(self) -> str | None:
        """Return why no more results can be held, in words, if that is so."""
        return self._file.memory_is_short()

    def _show_journal_notices(self) -> None:
        """Take over what went wrong with the journal, to be shown by one job: this one, now."""
        for line in self._journal.pop_notices():
            self.warn(line)

    def _note_size(self, nbytes: int) -> None:
        """Warn when this job alone has more results than are kept of all jobs together."""
        self._nbytes += nbytes
        if self._nbytes < self._look_at:
            return
        self._look_at = self._nbytes + _LOOK_EVERY
        if self._nbytes > (most := self._most_kept()):
            self.warn(
                f"Its results are more than the {size(most)} that are kept of all jobs together"
                " (`results_max_bytes`). They stay while this process lives, and after that until"
                " somebody has read them. To keep them longer, set it higher (`%cloud config` says where)."
            )

    def _note_outputs(self, entry: ResultRecord) -> None:
        """Remember the latest lines, and drop printed output beyond what memory is meant for."""
        caught = entry.meta.outputs
        if not caught:
            return
        for index, outputs in caught.items():
            for kind, data in outputs:
                if kind == "display":
                    continue
                text = line_of(data) if kind == "log" else data
                stream: Literal["stdout", "stderr"] = "stdout" if kind == "stdout" else "stderr"
                self._journal.add_log(LogRecord(self._job_id, text, index + self._before, stream))
                lines = [line for line in text.splitlines() if line.strip()]
                self.last_lines = [*self.last_lines, *lines][-3:]
        shown = sum(
            len(data) if isinstance(data, str) else _A_DISPLAY
            for entries in caught.values()
            for _, data in entries
        )
        if shown > self._output_room:
            entry.meta.outputs = {}
            self.warn("printed output beyond 8 MB is in the job's files only, not shown")
        else:
            self._output_room -= shown

    def warn(self, text: str) -> None:
        """Keep a line for the user; the same one only once."""
        if text not in self._warnings:
            self._warnings.append(text)

    def _note_errors(self, entry: ResultRecord, errors: dict[int, PackedError]) -> None:
        for offset, packed in errors.items():
            if "links" in packed:
                link = packed["links"][0]
                kind, message, trace = link["type"], link["message"], traceback_text(link["frames"])
            else:
                kind, message, trace = packed["type"], packed["reason"], ""
            index, item = entry.first + offset, packed["item"]
            # Where the worker could not look at an item, its label is complete.
            label = item if item.startswith("item ") else f"item {index + self._before}: {item}"
            line = f"{summary_line(packed)} ({label})"
            self.note_error(index, item, kind, message, trace=trace, line=line)

    def note_error(
        self, index: int, item: str, kind: str, message: str, *, trace: str = "", line: str = ""
    ) -> None:
        """Record the failure of one item."""
        number = index + self._before
        self._journal.add_error(ErrorRecord(self._job_id, number, item, kind, message, trace))
        if self._first_error is None or index < self._first_error[0]:
            self._first_error = (index, line or f"{kind}: {message.splitlines()[0]}")

    def clear_errors(self) -> None:
        """The failed items are tried again: perhaps there is room by now for what is held, too."""
        self._file.try_again()
        self._first_error = None
        self._journal.clear_errors(self._job_id)

    def _note_batch(self, results: Results, failed: int, cost: float) -> None:
        meta = results.meta
        batch = BatchRecord(
            self._job_id,
            results.batch,
            results.worker,
            results.first,
            results.count,
            meta.started,
            meta.started + meta.seconds,
            "error" if failed else "done",
            failed,
            1,
            meta.cpu,
            meta.memory_peak,
            cost,
        )
        self.batches.append(batch)
        self._journal.add_batch(batch)

    def _note_changed(self, names: list[str]) -> None:
        shown = ", ".join(f"`{name}`" for name in names)
        self.warn(
            f"tasks changed {shown}: each worker has a copy of its own, and the changes are not"
            " brought back; return what you need instead"
        )

    def record_lost_batch(self, lost: BatchLost, cost: float = 0.0) -> None:
        """Record that a worker went down with a batch, and what that cost."""
        self.lost_workers += 1
        now = time.time()
        batch = BatchRecord(
            self._job_id,
            lost.batch,
            lost.worker,
            lost.first,
            lost.count,
            now,
            now,
            "timeout" if lost.reason == "timeout" else "lost",
            cost=cost,
        )
        self.batches.append(batch)
        self._journal.add_batch(batch)

    def record_done(self, n_items: int | None) -> None:
        """Write the number of items behind the results, so that readers know that none is missing."""
        if n_items is not None:
            self._file.write(0, ResultRecord(n_items, 0, BatchMeta(), b"", None, 0, 0))

    def close(self) -> None:
        """Write what is left: nothing more comes for now. Safe to repeat, and to go on after."""
        self._show_journal_notices()
        self._file.close()
