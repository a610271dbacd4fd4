"""Unpickles functions, with the large values they share taken from blobs."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
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


class BlobTable:
    """The blobs mapped in this process. Values are unpickled once per job: they may be mutable."""

    def __init__(self) -> None:
        self._parts: dict[str, list[memoryview]] = {}

    def add(self, digest: str, parts: list[memoryview]) -> None:
        self._parts[digest] = parts

    def drop(self, digest: str) -> None:
        self._parts.pop(digest, None)

    def loader(self) -> Callable[[str], Any]:
        """Return a lookup for one job, in which one digest is one object."""
        loaded: dict[str, Any] = {}

        def load(digest: str) -> Any:
            if digest not in loaded:
                stream, *buffers = self._parts[digest]
                loaded[digest] = pickle.loads(stream, buffers=buffers)
            return loaded[digest]

        return load


def load_function(payload: bytes, blob: Callable[[str], Any]) -> Any:
    """Return the function in `payload`."""
    return FunctionUnpickler(payload, blob).load()
