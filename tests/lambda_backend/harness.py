"""Drives a Lambda backend by hand: one call at a time, with everything that it reports."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from cloudbutton_backend.backends.aws_lambda.backend import LambdaBackend
from cloudbutton_backend.backends.protocol import (
    BackendDown,
    BatchCall,
    BatchEnded,
    Charged,
    Event,
    JobSpec,
    Results,
    WorkerDown,
)
from cloudbutton_backend.capture import capture, dump_items
from cloudbutton_backend.job_model import new_job_id
from cloudbutton_backend.results.result_record import ResultRecord

PATIENCE = 30.0
E = TypeVar("E")


def spec_of(function: Callable[[Any], Any], **changes: Any) -> JobSpec:
    """Return a job as the session would describe it."""
    captured = capture(function)
    spec = JobSpec(
        id=new_job_id(),
        payload=captured.payload,
        blobs=captured.blobs,
        seed=0,
        guard="off",
        timeout=None,
        memory=None,
        results="",
        cwd=os.getcwd(),
        environment=dict(os.environ),
        path=tuple(sys.path),
        displays=False,
    )
    return replace(spec, **changes)


class BackendHarness:
    """A started backend."""

    def __init__(self, backend: LambdaBackend) -> None:
        self.backend = backend
        self.events: list[Event] = []
        self._batches = 0
        backend.start()

    def __enter__(self) -> BackendHarness:
        return self

    def __exit__(self, *_: object) -> None:
        self.backend.close()

    def open(self, function: Callable[[Any], Any], **changes: Any) -> JobSpec:
        spec = spec_of(function, **changes)
        self.backend.prepare(spec, set)
        self.backend.open_job(spec)
        return spec

    def submit(
        self, spec: JobSpec, items: Sequence[Any], *, lease: float | None = None, slot: int = 0
    ) -> int:
        self._batches += 1
        parts = dump_items(list(items))
        call = BatchCall(self._batches, spec.id, f"lambda-{slot}", 0, len(items), parts, lease)
        self.backend.submit(call)
        return self._batches

    def run(self, spec: JobSpec, items: Sequence[Any], **options: Any) -> list[Event]:
        """Make a call; return what is reported of it up to its end."""
        return self.until_end(self.submit(spec, items, **options))

    def until_end(self, batch: int) -> list[Event]:
        """Return the events of a batch up to its end, and what came with that."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            self.events += self.backend.poll(0.1)
            mine = [event for event in self.events if getattr(event, "batch", None) == batch]
            if any(isinstance(event, (BatchEnded, WorkerDown)) for event in mine):
                return [*mine, *(each for each in self.events if isinstance(each, BackendDown))]
        raise AssertionError(f"batch {batch} has not ended within {PATIENCE:g} s: {self.events}")


def the(kind: type[E], events: Sequence[Event]) -> E:
    """Return the only event of a kind."""
    (found,) = (event for event in events if isinstance(event, kind))
    return found


def kinds(events: Sequence[Event]) -> list[type]:
    return [type(event) for event in events]


def values_of(events: Sequence[Event]) -> list[Any]:
    """Return what the items of a call returned."""
    found: list[Any] = []
    for event in events:
        if isinstance(event, Results):
            entry = ResultRecord(
                event.first, event.count, event.meta, event.payload, None, 0, event.length
            )
            found += entry.values()
    return found


def charge_of(events: Sequence[Event]) -> Charged:
    return the(Charged, events)


def marker(folder: Path, name: str) -> Callable[[], None]:
    """Return a function that leaves a file behind: by which a test sees what tasks have done."""
    path = str(folder / name)

    def leave() -> None:
        with open(path, "a") as file:
            file.write(".")

    return leave
