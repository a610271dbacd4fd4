"""Fetches cached results as ranges of a new job: read, checked, and numbered as its items are."""

from __future__ import annotations

import contextlib
import os
import pickle
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import xxhash

from cloudbutton_backend.result_cache.index import CacheHit
from cloudbutton_backend.result_cache.result_classes import LiveClasses
from cloudbutton_backend.results.result_ranges import ResultRange
from cloudbutton_backend.results.result_record import ResultRecord
from cloudbutton_backend.storage.sealed_files import results_key
from cloudbutton_backend.worker.batch_meta import BatchMeta
from cloudbutton_backend.worker.regular_files import open_regular
from cloudbutton_backend.worker.result_file import FileRecord, read_records
from cloudbutton_backend.worker.wire import layout, split

_IN_MEMORY: Final = 4 << 20
"""Bytes of small results that a job keeps in memory; the rest is read when it is asked for."""
_SMALL: Final = 1 << 20
"""Bytes of a record from which no part is copied: it is read where it lies."""
_OUTPUT_ROOM: Final = 8 << 20
"""Characters of printed output that a job keeps in memory."""
_A_DISPLAY: Final = 20_000
"""What a displayed object counts as, in characters."""


class Retrieval:
    """Fetches results of earlier jobs for one new job.

    Parameters
    ----------
    results
        The directory of the result files.
    """

    def __init__(self, results: Path, live: LiveClasses) -> None:
        self._results = results
        self._live = live
        self._in_memory = 0
        self._output_room = _OUTPUT_ROOM
        self.lost: set[int] = set()
        """Records that are gone or damaged."""
        self.without_output = False
        """Whether printed output was left out, as it would have been too much."""

    def runs(self, found: Mapping[int, CacheHit]) -> list[ResultRange]:
        """Return the results of the new job's items, by index, in order; what cannot be read is left out."""
        by_file: defaultdict[str, dict[int, list[tuple[int, CacheHit]]]] = defaultdict(dict)
        for index, hit in found.items():
            by_file[hit.place.file].setdefault(hit.place.offset, []).append((index, hit))
        runs: list[ResultRange] = []
        for file, places in by_file.items():
            left = dict(places)
            for record in self._records(file, left):
                wanted = left.pop(record.offset)
                runs += self._of_record(record, wanted)
            self.lost.update(hit.record for wanted in left.values() for _, hit in wanted)
            if len(left) < len(places):
                with contextlib.suppress(OSError):
                    os.utime(self._results / file)  # what is used again is not old (see cleaning)
        return sorted(runs, key=lambda run: run.first)

    def _records(self, file: str, wanted: Mapping[int, object]) -> Iterator[FileRecord]:
        path = self._results / file
        try:
            key = results_key(self._results.parent, file.split(".", maxsplit=1)[0])
            yield from read_records(str(path), key, lambda error: None, only=tuple(wanted))
        except (OSError, pickle.UnpicklingError, EOFError):
            return  # what comes after is as good as gone

    def _of_record(
        self, record: FileRecord, wanted: Sequence[tuple[int, CacheHit]]
    ) -> list[ResultRange]:
        place = wanted[0][1].place
        try:
            payload = read_payload(record.path, record.offset, record.length)
        except OSError:
            payload = memoryview(b"")
        errors = record.meta.errors
        if (
            record.length != place.length
            or hash_of(payload) != place.hash
            or any(hit.position >= record.count or hit.position in errors for _, hit in wanted)
        ):
            self.lost.add(wanted[0][1].record)
            return []
        if not self._live.take_over(place.classes):
            return []
        return self.take(record, payload, [(index, hit.position) for index, hit in wanted])

    def take(
        self,
        record: FileRecord | ResultRecord,
        payload: memoryview,
        wanted: Sequence[tuple[int, int]],
    ) -> list[ResultRange]:
        """Return runs of some values of a record: new indices, with their positions in the record."""
        stretches = _stretches(wanted)
        is_whole = len(stretches) == 1 and stretches[0][2] == record.count
        if is_whole or record.length > _SMALL:
            return [self._in_place(record, payload, *stretch) for stretch in stretches]
        return [self._copied(record, payload, *stretch) for stretch in stretches]

    def _in_place(
        self,
        record: FileRecord | ResultRecord,
        payload: memoryview,
        first: int,
        position: int,
        count: int,
    ) -> ResultRange:
        """Return a run whose values stay in the record; small ones are kept in memory, too."""
        kept = None
        if self._in_memory + record.length <= _IN_MEMORY:
            self._in_memory += record.length
            kept = bytes(payload)
        meta = self._meta(record, first, position, count)
        meta.ends = record.meta.ends
        start = first - position
        entry = ResultRecord(
            start,
            record.count,
            meta,
            kept,
            record.path,
            record.offset,
            record.length,
            crc=record.crc,
        )
        return ResultRange(first, first + count, entry)

    def _copied(
        self,
        record: FileRecord | ResultRecord,
        payload: memoryview,
        first: int,
        position: int,
        count: int,
    ) -> ResultRange:
        """Return a run that holds a few values of a record: the others are not read ever again."""
        parts = split(payload)
        meta = self._meta(record, first, position, count)
        index = record.meta.ends
        if index is None:
            values = pickle.loads(parts[0], buffers=parts[1:])
            parts = [memoryview(pickle.dumps(values[position : position + count], 5))]
        else:
            low, low_buffer = index[position - 1] if position else (0, 0)
            high, high_buffer = index[position + count - 1]
            parts = [parts[0][low:high], *parts[1 + low_buffer : 1 + high_buffer]]
            ends = index[position : position + count]
            meta.ends = [(end - low, buffers - low_buffer) for end, buffers in ends]
        pieces, length = layout(parts)
        return ResultRange(
            first,
            first + count,
            ResultRecord(first, count, meta, b"".join(pieces), None, 0, length),
        )

    def _meta(
        self, record: FileRecord | ResultRecord, first: int, position: int, count: int
    ) -> BatchMeta:
        """Return the metadata of a run's items: what they printed, by their new numbers."""
        shift = first - position - record.first
        outputs = {
            index + shift: caught
            for index, caught in record.meta.outputs.items()
            if first <= index + shift < first + count
        }
        if not outputs:
            return BatchMeta()
        size = sum(
            len(data) if isinstance(data, str) else _A_DISPLAY
            for caught in outputs.values()
            for _, data in caught
        )
        if size > self._output_room:
            self.without_output = True
            return BatchMeta()
        self._output_room -= size
        return BatchMeta(outputs=outputs)


def read_payload(path: str, offset: int, length: int) -> memoryview:
    """Return the bytes of a record's payload; fewer if the file ends before."""
    view = memoryview(bytearray(length))
    with open_regular(path) as file:
        file.seek(offset)
        got = 0
        while got < length and (part := file.readinto(view[got:])):
            got += part
    return view[:got]


def hash_of(payload: memoryview | bytes) -> bytes:
    """Return the xxh3-128 of a payload, by which damage is noticed."""
    return xxhash.xxh3_128(payload).digest()


def base_name(path: str) -> str:
    """Return what a result file is called in its directory."""
    return os.path.basename(path)


def _stretches(pairs: Sequence[tuple[int, int]]) -> list[tuple[int, int, int]]:
    """Return (index, position, count) of the stretches in which both run in step."""
    stretches: list[tuple[int, int, int]] = []
    for index, position in sorted(pairs):
        if stretches:
            first, start, count = stretches[-1]
            if index == first + count and position == start + count:
                stretches[-1] = (first, start, count + 1)
                continue
        stretches.append((index, position, 1))
    return stretches
