"""Result files: append-only records of what consecutive items left behind. Format version 2.

A record is a 64-byte header, a pickled `PackedMeta`, a payload (see `wire`) and a seal, padded to 64 bytes::

    4s magic "CBR1" | u16 version | u16 0 | u32 batch | u32 count | u64 first item | u64 meta length
    u64 payload length | u64 sealed length | u32 CRC-32 of the payload | u32 CRC-32 of all this | 8 zeros
    meta | pad | payload | HMAC-SHA-256 of header, meta and the payload's first `sealed` bytes | pad

Nothing is unpickled before its seal is right: the seal covers a payload's pickle stream. Buffers behind
it are only data, and covered by the CRC, which is as fast as the disk. A file that ends inside a record
(the machine died) is read up to the last whole one.
"""

from __future__ import annotations

import errno
import io
import os
import pickle
import struct
import zlib
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, Final, NamedTuple

from cloudbutton_backend.worker.batch_meta import BatchMeta
from cloudbutton_backend.worker.regular_files import open_regular
from cloudbutton_backend.worker.wire import ALIGN, Buffer, stream_end

MAGIC: Final = b"CBR1"
VERSION: Final = 2
HEADER_BYTES: Final = 64
SEAL_BYTES: Final = 32
"""Bytes of an HMAC."""
_FIELDS: Final = struct.Struct("<4sHHIIQQQQI")
_CHECK: Final = struct.Struct("<I8x")
_CHUNK: Final = 1 << 20
_IOV_MAX: Final = 512


@dataclass(frozen=True, slots=True)
class FileRecord:
    """A record's position, and its metadata without unpickling the payload."""

    path: str
    batch: int
    first: int
    count: int
    meta: BatchMeta
    offset: int
    """Of the payload in the file."""
    length: int
    """Of the payload, bytes."""
    crc: int = 0
    """Of the payload."""


class TornRecord(Exception):
    """A file ends inside a record, or the record is damaged."""


class RecordHeader(NamedTuple):
    """The beginning of a record."""

    batch: int
    n_items: int
    first: int
    n_meta: int
    length: int
    sealed: int
    crc: int

    @property
    def offset(self) -> int:
        """The offset of the payload in the record."""
        lead = HEADER_BYTES + self.n_meta
        return lead + (-lead % ALIGN)

    @property
    def end(self) -> int:
        """The end of the record, without the zeros behind it."""
        return self.offset + self.length + SEAL_BYTES

    @property
    def size(self) -> int:
        """The size of the record with the zeros behind it."""
        return self.end + (-self.end % ALIGN)


def padding(n: int) -> bytes:
    """Return the zeros that follow `n` bytes."""
    return bytes(-n % ALIGN)


def pack_record(
    batch: int,
    first: int,
    count: int,
    packed_meta: bytes,
    pieces: list[Buffer],
    length: int,
    key: bytes,
    sealed: int,
) -> tuple[list[Buffer], int]:
    """Return the buffers of a record, and the CRC of its payload, of which `sealed` bytes are sealed."""
    crc = 0
    for piece in pieces:
        crc = zlib.crc32(piece, crc)
    fields = _FIELDS.pack(
        MAGIC, VERSION, 0, batch, count, first, len(packed_meta), length, sealed, crc
    )
    lead = fields + _CHECK.pack(zlib.crc32(fields)) + packed_meta
    seal = new_seal(key, lead)
    for piece in pieces:
        if sealed <= 0:
            break
        seal.update(memoryview(piece)[:sealed])
        sealed -= len(piece)
    tail = seal.digest() + padding(length + SEAL_BYTES)
    return [lead + padding(len(lead)), *pieces, tail], crc


def new_seal(key: bytes, lead: Buffer) -> Any:
    """Return an HMAC with `key` that begins with a record's header and meta."""
    import hmac  # OpenSSL: a worker with small results needs none

    return hmac.new(key, lead, "sha256")


def read_header(head: Buffer, name: str, position: int) -> RecordHeader:
    """Return the header of the record at `position` of the file or object `name`.

    Raises
    ------
    TornRecord
        It is damaged, or none.
    """
    if len(head) < HEADER_BYTES or bytes(head[:4]) != MAGIC:
        raise TornRecord(f"{name}: no record at byte {position}")
    fields = head[: _FIELDS.size]
    _magic, version, _zero, *numbers = _FIELDS.unpack(fields)
    if _CHECK.unpack_from(head, _FIELDS.size) != (zlib.crc32(fields),):
        if version < VERSION:
            raise TornRecord(f"{name}: written by an older version (format {version})")
        raise TornRecord(f"{name}: the record at byte {position} is damaged")
    if version != VERSION:
        raise TornRecord(f"{name}: written by another version (format {version})")
    batch, count, first, n_meta, length, sealed, crc = numbers
    return RecordHeader(batch, count, first, n_meta, length, sealed, crc)


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
    """Appends records to one file. Not thread-safe; one writer per file.

    Parameters
    ----------
    key
        Seals the records: that of the job.
    """

    def __init__(self, path: str, key: bytes) -> None:
        self.path = path
        self._key = key
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
        """Append a record; return the offset of its payload and the CRC.

        A failed write (disk full) leaves the file as it was.

        Raises
        ------
        FileNotFoundError
            The file was removed: what is written to it could not be read.
        OSError
            The disk refuses.
        """
        if os.fstat(self._fd).st_nlink == 0:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self.path)
        packed = pickle.dumps(meta.packed(), 5)
        # What is no payload as in `wire` is sealed whole.
        sealed = min(length, stream_end(pieces[0]) if length >= 2 * 8 else length)
        record, crc = pack_record(batch, first, count, packed, pieces, length, self._key, sealed)
        start = self._end
        offset = start + len(record[0])
        if self._is_torn:  # what follows would not be found
            self._cut(start)
        try:
            _write_all(self._fd, record)
        except BaseException:
            self._is_torn = True
            self._cut(start)
            raise
        self._end = offset + length + len(record[-1])
        return offset, crc

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
    """Return where the record behind this one begins."""
    end = record.offset + record.length + SEAL_BYTES
    return end + (-end % ALIGN)


def read_records(
    path: str,
    key: bytes,
    damaged: Callable[[TornRecord], None] | None = None,
    start: int = 0,
    only: Container[int] | None = None,
) -> Iterator[FileRecord]:
    """Yield the whole records of the file at `path`; stop quietly where it ends inside one.

    Parameters
    ----------
    key
        With which they are sealed.
    damaged
        Called for each damaged record, which is then left out; None to raise. Where the damage hides
        how long a record is, those behind it are left out, too: what only looks like a record may be
        part of a result.
    start
        Where a record begins, and reading with it: `after` one that was read before.
    only
        Offsets of payloads; None to have all records.

    Raises
    ------
    TornRecord
        If a record is damaged.
    """

    def refuse(error: TornRecord) -> None:
        if damaged is None:
            raise error
        damaged(error)

    size = os.path.getsize(path)
    with io.BufferedReader(open_regular(path)) as file:
        position = start
        while position + HEADER_BYTES <= size:
            file.seek(position)
            head = file.read(HEADER_BYTES)
            try:
                header = read_header(head, path, position)
            except TornRecord as error:
                return refuse(error)
            if position + header.end > size:
                return
            offset = position + header.offset
            if only is None or offset in only:
                packed = file.read(header.n_meta)
                file.seek(offset)
                if _is_sealed(file, header, head + packed, key):
                    batch, count, first, _, length, _, crc = header
                    meta = BatchMeta.unpacked(pickle.loads(packed))
                    yield FileRecord(path, batch, first, count, meta, offset, length, crc)
                else:
                    refuse(TornRecord(f"{path}: the record at byte {position} is damaged"))
            position += header.size


def _is_sealed(file: BinaryIO, header: RecordHeader, lead: bytes, key: bytes) -> bool:
    """Whether a record is as it was written; `file` is at its payload."""
    from hmac import compare_digest

    seal, crc, left, sealed = new_seal(key, lead), 0, header.length, header.sealed
    while left:
        chunk = file.read(min(left, _CHUNK))
        if not chunk:
            return False
        crc = zlib.crc32(chunk, crc)
        if sealed > 0:
            seal.update(chunk[:sealed])
        left, sealed = left - len(chunk), sealed - len(chunk)
    return crc == header.crc and compare_digest(file.read(SEAL_BYTES), seal.digest())
