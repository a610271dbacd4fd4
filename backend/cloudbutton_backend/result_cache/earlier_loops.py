"""Finds what the loops of a cell had finished when its kernel died, for the same loops run again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cloudbutton_backend.capture import Captured
from cloudbutton_backend.capture.content_digest import ContentDigest, Unkeyable, content_of
from cloudbutton_backend.durable.salvage import salvage
from cloudbutton_backend.errors import CloudError
from cloudbutton_backend.journal import JobRow, JournalReader
from cloudbutton_backend.result_cache.keys import KEY_BYTES
from cloudbutton_backend.result_cache.loop_traces import (
    LoopTrace,
    content_of_body,
    digests_of,
    packages_behind,
    read_trace,
    versions_behind,
)
from cloudbutton_backend.result_cache.result_classes import LiveClasses, ids_in
from cloudbutton_backend.result_cache.retrieval import Retrieval, read_payload
from cloudbutton_backend.results.result_ranges import ResultRange
from cloudbutton_backend.results.result_record import ResultRecord

Found = Callable[[str, Captured, Sequence[Any]], Sequence[ResultRange]]


class EarlierLoops:
    """Results of loops that ran in another process, to be taken over where code and items are the same.

    Parameters
    ----------
    rows
        The jobs of the loops, the latest first.
    is_good
        Whether a value may be used in place of running its item.
    spoils
        Whether a value shows that those of other items may be wrong.
    may_change
        Whether a value may have changed its item when the loop was given it.

    Attributes
    ----------
    taken
        By the ids of jobs, how many of their items were taken over.
    refused
        By the ids of jobs, why none of their items could be.
    """

    def __init__(
        self,
        home: Path,
        rows: Sequence[JobRow],
        *,
        is_good: Callable[[Any], bool],
        spoils: Callable[[Any], bool],
        may_change: Callable[[Any], bool],
    ) -> None:
        self._home = home
        self._rows = rows
        self._is_good = is_good
        self._spoils = spoils
        self._may_change = may_change
        self._traces: dict[str, LoopTrace | None] = {}
        self.taken: dict[str, int] = {}
        self.refused: dict[str, str] = {}

    def lines(self) -> list[str]:
        """Return what to tell the user: what was taken over, and what was not and why."""
        told = [
            f"{count:,} {'item' if count == 1 else 'items'} of job {job_id} taken over, not run again"
            for job_id, count in self.taken.items()
        ]
        told += [
            f"nothing of job {job_id} taken over: {reason}"
            for job_id, reason in self.refused.items()
            if job_id not in self.taken
        ]
        return told

    def of(self, function: Callable[..., Any], settings: Mapping[str, Any]) -> Found:
        """Return what gives the results of a loop with the body `function` under these settings."""

        def find(_job_id: str, captured: Captured, items: Sequence[Any]) -> Sequence[ResultRange]:
            body = content_of_body(function, captured.report)
            return self._find(captured, body, settings, items)

        return find

    def _find(
        self,
        captured: Captured,
        body: ContentDigest | None,
        settings: Mapping[str, Any],
        items: Sequence[Any],
    ) -> list[ResultRange]:
        left: dict[bytes, list[int]] | None = None
        live: LiveClasses | None = None
        own: dict[str, str] = {}
        runs: list[ResultRange] = []
        for row in self._rows:
            trace = self._trace_of(row)
            if trace is None or not self._is_same(row, trace, captured, body):
                continue
            if left is None or live is None:
                left, classes, packages = _looked_at(items)
                live = LiveClasses(captured.classes | classes | (body.classes if body else set()))
                reached = packages_behind({*captured.report.packages, *packages})
                own = digests_of(settings, reached)
            if row.code_digest != captured.digest and (others := _differing(trace.settings, own)):
                self.refused[row.id] = f"{_listed(others)} changed"
                continue
            try:
                found = self._take(row, trace, left, live)
            except CloudError as error:
                self.refused[row.id] = str(error)
                continue
            if found:
                self.taken[row.id] = self.taken.get(row.id, 0) + _count(found)
                runs += found
        return runs

    def _trace_of(self, row: JobRow) -> LoopTrace | None:
        if row.id not in self._traces:
            self._traces[row.id] = None
            try:
                self._traces[row.id] = read_trace(self._home, row.id)
                if self._traces[row.id] is None:
                    self.refused[row.id] = "what its items were had not been written down"
            except CloudError as error:
                self.refused[row.id] = str(error)
        return self._traces[row.id]

    def _is_same(
        self, row: JobRow, trace: LoopTrace, captured: Captured, body: ContentDigest | None
    ) -> bool:
        is_same = body is not None and trace.code == body.digest.hex()
        if not is_same and row.code_digest != captured.digest:
            self.refused.setdefault(row.id, "its code, or a value that it uses, is another one now")
            return False
        now = versions_behind(captured.report.packages)
        if others := _differing(trace.versions, now):
            told = [
                f"{name} is {now.get(name, 'not used')} now and was {trace.versions.get(name, 'not used')}"
                for name in others
            ]
            self.refused[row.id] = _listed(told)
            return False
        return True

    def _take(
        self, row: JobRow, trace: LoopTrace, left: dict[bytes, list[int]], live: LiveClasses
    ) -> list[ResultRange]:
        """Return runs for those of the items in `left` that the job had finished, and strike them off."""
        announced = JournalReader(self._home).batches(row.id)
        salvaged = salvage(self._home / "results", row.id, announced)
        retrieval = Retrieval(self._home / "results", live)
        entries: dict[int, tuple[ResultRecord, list[int]]] = {}
        used: set[bytes] = set()
        for run in salvaged.runs:
            if run.entry is not None:
                found = entries.setdefault(id(run.entry), (run.entry, []))
                found[1].extend(range(run.first, run.stop))
        runs: list[ResultRange] = []
        for entry, indices in entries.values():
            payload = _payload(entry)
            if payload is None or not _has_classes(payload, trace, live):
                continue
            wanted = []
            values = entry.values()
            if any(self._spoils(values[index - entry.first]) for index in indices):
                self.refused[row.id] = "it had been seen to change what its items share"
                return []
            for index in indices:
                digest = trace.items[index] if index < len(trace.items) else b""
                position = index - entry.first
                value = values[position]
                if index < trace.doubtful and self._may_change(value):
                    continue  # the digest may be that of what it was changed to
                if digest in left and digest not in used and self._is_good(value):
                    wanted += [(new, position) for new in left[digest]]
                    used.add(digest)
            if wanted:
                runs += retrieval.take(entry, payload, wanted)
        for digest in used:
            del left[digest]
        if not runs:
            self.refused.setdefault(row.id, "it had finished none of the items that there are now")
        return runs


def _differing(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    return sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))


def _listed(parts: Sequence[str]) -> str:
    return ", ".join(parts) if len(parts) < 4 else f"{', '.join(parts[:3])}, …"


def _looked_at(
    items: Sequence[Any],
) -> tuple[dict[bytes, list[int]], set[str], set[str]]:
    """Return the items by what stands for their content, and the classes and packages in them."""
    found: dict[bytes, list[int]] = {}
    classes, packages = set[str](), set[str]()
    for index, item in enumerate(items):
        try:
            content = content_of(item)
        except Unkeyable:
            continue
        found.setdefault(content.digest[:KEY_BYTES], []).append(index)
        classes |= content.classes
        packages |= content.packages
    return found, classes, packages


def _payload(entry: ResultRecord) -> memoryview | None:
    assert entry.path is not None
    try:
        payload = read_payload(entry.path, entry.offset, entry.length)
    except OSError:
        return None
    return payload if len(payload) == entry.length else None


def _has_classes(payload: memoryview, trace: LoopTrace, live: LiveClasses) -> bool:
    """Whether the notebook's classes in a payload are here, too; they are loaded as those, then."""
    ids = ids_in(payload)
    if not ids <= trace.classes.keys():
        return False
    return live.take_over({each: trace.classes[each] for each in ids})


def _count(runs: Sequence[ResultRange]) -> int:
    return sum(run.stop - run.first for run in runs)
