"""Unpickles functions, with the large values they share taken from blobs, and the state they run in."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cloudbutton_backend.worker.process_state import ProcessState

BLOB_TAG = "cloudbutton-blob"


class FunctionUnpickler(pickle.Unpickler):
    """Loads a captured function; large captured values are looked up by content."""

    def __init__(self, stream: io.BytesIO, blob: Callable[[str], Any]) -> None:
        super().__init__(stream)
        self._blob = blob

    def persistent_load(self, pid: Any) -> Any:
        tag, digest = pid
        if tag != BLOB_TAG:
            raise pickle.UnpicklingError(f"unknown persistent id {pid!r}")
        return self._blob(digest)


def blob_loader(blobs: Mapping[str, Sequence[memoryview]]) -> Callable[[str], Any]:
    """Return a lookup by digest for one job, in which one digest is one object.

    Values are unpickled once per job: they may be mutable.
    """
    loaded: dict[str, Any] = {}

    def load(digest: str) -> Any:
        if digest not in loaded:
            stream, *buffers = blobs[digest]
            loaded[digest] = pickle.loads(stream, buffers=buffers)
        return loaded[digest]

    return load


def load_function(payload: bytes, blob: Callable[[str], Any]) -> tuple[Any, ProcessState]:
    """Return the function in `payload`, and the state before it; the usual state is left out."""
    stream = io.BytesIO(payload)
    first = FunctionUnpickler(stream, blob).load()
    if type(first) is ProcessState:
        return FunctionUnpickler(stream, blob).load(), first
    return first, ProcessState()
