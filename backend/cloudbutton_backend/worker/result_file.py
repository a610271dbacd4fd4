"""Result files: append-only records of what consecutive items left behind. Format version 1.

A record is a 64-byte header, a pickled `PackedMeta` and a payload (see `wire`), padded to
64 bytes::

    4s magic "CBR1" | u16 version | u16 flags | u32 batch | u32 count | u64 first item
    u64 meta length | u64 payload length | u32 CRC-32 | 20 bytes reserved | meta | pad | payload | pad

The CRC covers the meta and the first 64 KiB of the payload: enough to tell a torn write from a whole
one without reading large arrays twice. Flag 1 announces a 32-byte HMAC-SHA-256 after the payload, of
header, meta and payload, for records that leave this machine (`sealed_records`). Every record is whole
in one file; a file that ends inside a record (the machine died) is read up to the last whole one.
"""

from __future__ import annotations

import errno
import os
import pickle
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from cloudbutton_backend.worker.batch_meta import BatchMeta
from cloudbutton_backend.worker.wire import ALIGN, Buffer

MAGIC: Final = b"CBR1"
VERSION: Final = 1
HEADER: Final = struct.Struct("<4sHHIIQQQI20x")
SEALED: Final = 1
"""Flag: an HMAC follows the payload."""
SEAL_BYTES: Final = 32
"""Bytes of an HMAC."""
_CHECKED: Final = 1 << 16
_IOV_MAX: Final = 512


@dataclass(frozen=True, slots=True)
class FileRecord:
    """Where a record is, and what is known of it without reading its payload."""

    path: str
    batch: int
    first: int
    count: int
    meta: BatchMeta
    offset: int
    """Of the payload in the file."""
    length: int
    """Of the payload, bytes."""


class TornRecord(Exception):
    """A file ends inside a record, or the record is damaged."""


def padding(n: int) -> bytes:
    """Return the zeros that follow `n` bytes."""
    return bytes(-n % ALIGN)


def checksum(meta: bytes, pieces: list[Buffer]) -> int:
    """Return the CRC-32 of a record's meta and the beginning of its payload."""
    crc = zlib.crc32(meta)
    left = _CHECKED
    for piece in pieces:
        if left <= 0:
            break
        crc = zlib.crc32(memoryview(piece)[:left], crc)
        left -= len(piece)
    return crc


def _write_all(fd: int, buffers: list[Buffer]) -> None:
    """Append all of `buffers`, going on after short writes."""
    views = [memoryview(b) for b in buffers if len(b)]
    while views:
        if len(views) == 1 or not hasattr(os, "writev"):
            written = os.write(fd, views[0])
        else:
            written = os.writev(fd, views[:_IOV_MAX])
        while views and written >= len(views[0]):
            written -= len(views.pop(0))
        if written:
            views[0] = views[0][written:]


class SegmentWriter:
    """Appends records to one file. Not thread-safe; one writer per file."""

    def __init__(self, path: str) -> None:
        self.path = path
        # Windows would otherwise turn each byte 10 into two.
        kind = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | kind, 0o600)
        self._end = os.fstat(self._fd).st_size
        self._is_torn = False

    def append(
        self,
        batch: int,
        first: int,
        count: int,
        meta: BatchMeta,
        pieces: list[Buffer],
        length: int,
    ) -> tuple[int, int]:
        """Append a record; return offset and length of its payload.

        A failed write (disk full) leaves the file as it was.

        Raises
        ------
        FileNotFoundError
            The file was removed: nobody could read what is written to it.
        OSError
            The disk refuses.
        """
        if os.fstat(self._fd).st_nlink == 0:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self.path)
        packed = pickle.dumps(meta.packed(), 5)
        lead = HEADER.size + len(packed)
        header = HEADER.pack(
            MAGIC, VERSION, 0, batch, count, first, len(packed), length, checksum(packed, pieces)
        )
        start = self._end
        offset = start + lead + (-lead % ALIGN)
        if self._is_torn:  # what follows would not be found
            self._cut(start)
        try:
            _write_all(self._fd, [header + packed + padding(lead), *pieces, padding(length)])
        except BaseException:
            self._is_torn = True
            self._cut(start)
            raise
        self._end = offset + length + (-length % ALIGN)
        return offset, length

    def _cut(self, end: int) -> None:
        """Take back what a failed write has left behind `end`."""
        os.ftruncate(self._fd, end)
        self._is_torn = False

    def close(self) -> None:
        """Close the file; safe to repeat."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def after(record: FileRecord) -> int:
    """Return where the record behind this one begins, in a file without seals."""
    end = record.offset + record.length
    return end + (-end % ALIGN)


def read_records(
    path: str, damaged: Callable[[TornRecord], None] | None = None, start: int = 0
) -> Iterator[FileRecord]:
    """Yield the whole records of the file at `path`; stop quietly at a torn tail.

    Parameters
    ----------
    damaged
        Called for each damaged record, which is then left out; None to raise. Where the damage hides
        how long a record is, those behind it are left out, too: what only looks like a record may be
        part of somebody's result.
    start
        Where a record begins, and reading with it: `after` one that was read before.

    Raises
    ------
    TornRecord
        If a damaged record is followed by more data, so that something is missing in the middle.
    """

    def refuse(error: TornRecord) -> None:
        if damaged is None:
            raise error
        damaged(error)

    size = os.path.getsize(path)
    with open(path, "rb") as file:
        position = start
        while position + HEADER.size <= size:
            file.seek(position)
            head = file.read(HEADER.size)
            magic, version, flags, batch, count, first, n_meta, length, crc = HEADER.unpack(head)
            if magic != MAGIC:
                return refuse(TornRecord(f"{path}: no record at byte {position}"))
            if version > VERSION:
                return refuse(TornRecord(f"{path}: written by a newer version (format {version})"))
            lead = HEADER.size + n_meta
            offset = position + lead + (-lead % ALIGN)
            end = offset + length + (SEAL_BYTES if flags & SEALED else 0)
            if end > size:
                return
            packed = file.read(n_meta)
            file.seek(offset)
            if checksum(packed, [file.read(min(length, _CHECKED))]) != crc:
                if end + (-end % ALIGN) >= size:
                    return
                refuse(TornRecord(f"{path}: the record at byte {position} is damaged"))
            else:
                meta = BatchMeta.unpacked(pickle.loads(packed))
                yield FileRecord(path, batch, first, count, meta, offset, length)
            position = end + (-end % ALIGN)
