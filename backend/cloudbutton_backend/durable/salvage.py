"""Reads the results that earlier processes left of a job; of an item's, the first announced counts."""

from __future__ import annotations

import pickle
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cloudbutton_backend.job_model import BatchRecord
from cloudbutton_backend.results.result_ranges import Range, ResultRange, complement, ranges_of
from cloudbutton_backend.results.result_record import ResultRecord
from cloudbutton_backend.storage.sealed_files import results_key
from cloudbutton_backend.worker.result_file import FileRecord, read_records


@dataclass(frozen=True)
class SalvagedResults:
    """The results that could be read."""

    runs: tuple[ResultRange, ...]
    """Disjoint, without failed items, in the order of the items."""
    stop: int
    """One more than the last item that any record speaks of."""
    trouble: tuple[str, ...]
    """Lines for the user about what could not be read."""
    generation: int
    """The highest number among the processes that wrote results."""
    total: int | None = None
    """How many items the job has, if it was done when its last process ended."""

    def missing(self, n_items: int | None) -> list[Range] | None:
        """Return the items without results, of `n_items` or `total`; None if neither is known."""
        count = self.total if n_items is None else n_items
        return None if count is None else complement(ranges_of(self.runs), count)


def result_files(results: Path, job_id: str) -> list[tuple[int, bool, Path]]:
    """Return a job's result files: the number of the process, whether it is the kernel's own, the path."""
    found = []
    for path in sorted(results.glob(f"{job_id}.*")):
        match = re.fullmatch(r"(?:(\d+)\.)?(.*?)\.?seg", path.name[len(job_id) + 1 :])
        if match is not None:
            found.append((int(match[1] or 0), not match[2], path))
    return found


def prefix_of(results: Path, job_id: str, generation: int) -> Path:
    """Return the prefix of the result files of one process, the first one being number 0."""
    return results / (f"{job_id}.{generation}" if generation else job_id)


def salvage(
    results: Path,
    job_id: str,
    announced: Iterable[BatchRecord] = (),
    *,
    before: int = 0,
) -> SalvagedResults:
    """Read a job's results as far as they are on disk.

    Parameters
    ----------
    announced
        Its batches in the order in which the journal has them: where an item is in more than one
        record, that which was announced first counts.
    before
        How many items of the same loop ran before the job's first.
    """
    key = results_key(results.parent, job_id)
    order: dict[tuple[int, int], int] = {}
    for place, batch in enumerate(announced):
        order.setdefault((batch.batch, batch.first), place)
    records: list[tuple[tuple[int, bool, int], FileRecord]] = []
    trouble: list[str] = []
    generations = [0]
    total: int | None = None
    for generation, is_kernels, path in result_files(results, job_id):
        generations.append(generation)
        damage: list[Exception] = []
        try:
            for record in read_records(str(path), key, damaged=damage.append):
                if not record.count:
                    total = record.first
                    continue
                place = order.get((record.batch, record.first), len(order))
                records.append(((place, not is_kernels, generation), record))
        except (OSError, pickle.UnpicklingError) as error:
            damage.append(error)
        trouble += [
            f"not all results could be read ({error}); what is missing is run again"
            for error in damage
        ]
    records.sort(key=lambda each: each[0])
    salvaged = SalvagedItems(before)
    runs = [run for _, record in records for run in salvaged.take(record)]
    runs.sort(key=lambda run: run.first)
    return SalvagedResults(tuple(runs), salvaged.stop, tuple(trouble), max(generations), total)


class SalvagedItems:
    """Items with a result so far: of an item's results, the first good one counts.

    Attributes
    ----------
    failures : dict
        For items with an error, the latest record that has it.
    stop : int
        One more than the last item that any record speaks of.
    """

    def __init__(self, before: int) -> None:
        self.failures: dict[int, FileRecord] = {}
        self._before = before
        self._taken = bytearray()

    @property
    def stop(self) -> int:
        return len(self._taken)

    def has(self, index: int) -> bool:
        """Whether an item has a result."""
        return index < len(self._taken) and self._taken[index] == 1

    def take(self, record: FileRecord) -> list[ResultRange]:
        """Return the stretches of a record that count."""
        stop = record.first + record.count
        if stop > len(self._taken):
            self._taken.extend(bytes(stop - len(self._taken)))
        errors = record.meta.errors
        self.failures.update((record.first + offset, record) for offset in errors)
        entry = entry_of(record, self._before)
        runs: list[ResultRange] = []
        start = record.first
        for index in range(record.first, stop + 1):
            if index < stop and not self._taken[index] and index - record.first not in errors:
                continue
            if start < index:
                runs.append(ResultRange(start, index, entry))
                self._taken[start:index] = b"\x01" * (index - start)
            start = index + 1
        return runs


def entry_of(record: FileRecord, before: int) -> ResultRecord:
    """Return where the results of a record are."""
    return ResultRecord(
        record.first,
        record.count,
        record.meta,
        None,
        record.path,
        record.offset,
        record.length,
        before,
        record.crc,
    )
