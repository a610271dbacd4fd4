"""Unpickles functions, with the large values they share taken from blobs."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Mapping, Sequence
from typing import Any

BLOB_TAG = "cloudbutton-blob"


class FunctionUnpickler(pickle.Unpickler):
    """Loads a captured function; large captured values are looked up by content."""

    def __init__(self, payload: bytes, blob: Callable[[str], Any]) -> None:
        super().__init__(io.BytesIO(payload))
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


def load_function(payload: bytes, blob: Callable[[str], Any]) -> Any:
    """Return the function in `payload`."""
    return FunctionUnpickler(payload, blob).load()
