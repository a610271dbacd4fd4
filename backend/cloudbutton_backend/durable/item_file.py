"""A job's items on the disk: chunks in the order in which they came, each with its seal.

::

    8s magic "CBITEMS1" | chunk | chunk | …
    chunk:  u64 first item | u32 count | u32 number of the chunk | u64 length | 32-byte HMAC | payload

The HMAC covers purpose, file name, the chunk's header and its payload (see `frames`): a pickled list of
items with its buffers. A chunk without items says how many items there are in all. A file that ends
inside a chunk (the machine died) is read up to the last whole one.
"""

from __future__ import annotations

import io
import os
import pickle
import struct
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cloudbutton_backend.errors import Tampered
from cloudbutton_backend.storage import sealed_files
from cloudbutton_backend.worker.failures import short_repr
from cloudbutton_backend.worker.regular_files import open_regular
from cloudbutton_backend.worker.wire import Buffer, layout, split

_MAGIC: Final = b"CBITEMS1"
_CHUNK: Final = struct.Struct("<QIIQ")
_SEAL_BYTES: Final = 32
_KEPT: Final = 4
"""Chunks whose items are kept in memory once they are loaded."""


def _seal(key: bytes, path: Path, header: bytes, pieces: Sequence[Buffer]) -> bytes:
    return sealed_files.digest(key, [b"items of a job\0", path.name.encode(), header, *pieces])


class ItemsWriter:
    """Appends chunks to a new file. One writer per file."""

    def __init__(self, path: Path, key: bytes) -> None:
        self._path = path
        self._key = key
        self._number = 0
        self._file = open(path, "xb", buffering=0, opener=_private)  # noqa: SIM115
        self._file.write(_MAGIC)

    def add(self, first: int, count: int, parts: Sequence[Buffer]) -> int:
        """Append pickled items, as `dump_items` returns them; return the bytes written."""
        pieces, length = layout(parts)
        header = _CHUNK.pack(first, count, self._number, length)
        whole = [header, _seal(self._key, self._path, header, pieces), *pieces]
        start = self._file.tell()
        try:
            for piece in whole:
                view = memoryview(piece)
                while view:
                    view = view[self._file.write(view) :]
        except OSError:  # a full disk: no half chunk in the middle, should there be room again
            self._file.truncate(start)
            self._file.seek(start)
            raise
        self._number += 1
        return length

    def end(self, total: int) -> None:
        """Record the final number of items."""
        self.add(total, 0, [])

    def sync(self) -> None:
        """Put all of it on the disk before this returns."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file; safe to repeat."""
        self._file.close()


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_BINARY", 0), 0o600)


@dataclass(frozen=True, slots=True)
class _Chunk:
    first: int
    count: int
    header: bytes
    seal: bytes
    offset: int
    length: int


class StoredItems:
    """The items in a file; nothing of them is read before it is asked for.

    Attributes
    ----------
    total
        How many items there are in all; None if that had not been written.
    damage
        Why nothing can be read, if nothing can.
    """

    def __init__(self, path: Path, key: bytes) -> None:
        self._path = path
        self._key = key
        self.total: int | None = None
        self.damage = ""
        self._chunks: list[_Chunk] = []
        self._loaded: OrderedDict[int, list[Any]] = OrderedDict()
        try:
            self._look()
        except (OSError, Tampered) as error:
            self.damage = str(error)
        self._chunks.sort(key=lambda chunk: chunk.first)
        self._starts = [chunk.first for chunk in self._chunks]

    def _look(self) -> None:
        size = self._path.stat().st_size
        with io.BufferedReader(open_regular(self._path)) as file:
            if file.read(len(_MAGIC)) != _MAGIC:
                raise Tampered(str(self._path), "it holds no items")
            position = len(_MAGIC)
            while position + _CHUNK.size + _SEAL_BYTES <= size:
                file.seek(position)
                header, seal = file.read(_CHUNK.size), file.read(_SEAL_BYTES)
                first, count, _number, length = _CHUNK.unpack(header)
                offset = position + _CHUNK.size + _SEAL_BYTES
                position = offset + length
                if position > size:
                    return
                chunk = _Chunk(first, count, header, seal, offset, length)
                if count:
                    self._chunks.append(chunk)
                elif self._is_whole(chunk):
                    self.total = first

    def _read(self, chunk: _Chunk) -> memoryview:
        with open_regular(self._path) as file:
            file.seek(chunk.offset)
            view = memoryview(bytearray(chunk.length))
            got = 0
            while got < chunk.length and (part := file.readinto(view[got:])):
                got += part
        if _seal(self._key, self._path, chunk.header, [view]) != chunk.seal:
            raise Tampered(str(self._path), f"items {chunk.first} and following have another seal")
        return view

    def _is_whole(self, chunk: _Chunk) -> bool:
        try:
            self._read(chunk)
        except Tampered:
            return False
        return True

    @property
    def stop(self) -> int:
        """One more than the last item that is there."""
        return max((chunk.first + chunk.count for chunk in self._chunks), default=0)

    def missing(self, wanted: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
        """Return the ranges within `wanted` whose items are not here, or are damaged."""
        gaps: list[tuple[int, int]] = []
        good: dict[int, bool] = {}
        for first, stop in wanted:
            while first < stop:
                at = self._at(first)
                chunk = self._chunks[at] if at >= 0 else None
                if chunk is not None and first < chunk.first + chunk.count:
                    if at not in good:
                        good[at] = self._is_whole(chunk)
                    end = min(stop, chunk.first + chunk.count)
                    is_here = good[at]
                else:
                    following = at + 1
                    end = stop
                    if following < len(self._chunks):
                        end = min(stop, self._chunks[following].first)
                    is_here = False
                if not is_here:
                    if gaps and gaps[-1][1] == first:
                        gaps[-1] = (gaps[-1][0], end)
                    else:
                        gaps.append((first, end))
                first = end
        return gaps

    def _at(self, index: int) -> int:
        """Return the place of the last chunk that begins at or before an item; -1 if none does."""
        return bisect_right(self._starts, index) - 1 if self._chunks else -1

    def items(self, first: int, count: int) -> list[Any]:
        """Return consecutive items."""
        found: list[Any] = []
        while len(found) < count:
            index = first + len(found)
            chunk = self._chunks[self._at(index)]
            items = self._items_of(chunk)
            start = index - chunk.first
            found += items[start : start + count - len(found)]
        return found

    def _items_of(self, chunk: _Chunk) -> list[Any]:
        if chunk.first not in self._loaded:
            stream, *buffers = split(self._read(chunk))
            self._loaded[chunk.first] = list(pickle.loads(stream, buffers=buffers))
            while len(self._loaded) > _KEPT:
                self._loaded.popitem(last=False)
        self._loaded.move_to_end(chunk.first)
        return self._loaded[chunk.first]

    def forget(self) -> None:
        """Keep nothing in memory."""
        self._loaded.clear()


class StoredSource:
    """Items that an earlier process wrote down.

    Parameters
    ----------
    count
        How many there are; None if that had not become known.
    before
        How many items of the same loop ran before these; messages count them.
    """

    def __init__(self, stored: StoredItems, count: int | None, before: int) -> None:
        self._stored = stored
        self._count = count
        self._before = before

    @property
    def n_items(self) -> int | None:
        return self._count

    def items(self, first: int, count: int) -> Sequence[Any]:
        return self._stored.items(first, count)

    def describe(self, index: int) -> str:
        try:
            (item,) = self._stored.items(index, 1)
        except Exception:  # it cannot be read or unpickled, and a message has to name it
            return f"item {index + self._before}"
        return f"item {index + self._before} ({short_repr(item)})"

    def want(self, least: int, upto: int) -> None:
        """Everything is available."""

    def release(self, first: int, count: int) -> None:
        """Nothing to free: few of them are in memory."""

    def close(self) -> None:
        """Nothing to stop."""

    def forget(self) -> None:
        self._stored.forget()
