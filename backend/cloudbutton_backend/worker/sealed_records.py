"""Result records that carry an HMAC: what leaves a machine is believed only where it was sealed.

The format is that of `segments`, with flag 1. The key belongs to one job: whoever drives the job derives
it, and sends it along with each call.
"""

from __future__ import annotations

import hashlib
import hmac
import pickle
from collections.abc import Iterator

from cloudbutton_backend.worker.batch_meta import BatchMeta, PackedMeta
from cloudbutton_backend.worker.call_end import CallReport
from cloudbutton_backend.worker.result_file import (
    HEADER,
    MAGIC,
    SEAL_BYTES,
    SEALED,
    VERSION,
    FileRecord,
    TornRecord,
    checksum,
    padding,
)
from cloudbutton_backend.worker.wire import ALIGN, Buffer


class BrokenSeal(Exception):
    """An HMAC is missing or wrong: this was not written by whom it should have been, or changed since."""


def sealed_record(
    batch: int,
    first: int,
    count: int,
    meta: PackedMeta,
    pieces: list[Buffer],
    length: int,
    key: bytes,
) -> list[Buffer]:
    """Return the buffers of a record that carries an HMAC with `key`."""
    packed = pickle.dumps(meta, 5)
    header = HEADER.pack(
        MAGIC, VERSION, SEALED, batch, count, first, len(packed), length, checksum(packed, pieces)
    )
    seal = hmac.new(key, header + packed, hashlib.sha256)
    for piece in pieces:
        seal.update(piece)
    lead = header + packed
    return [lead + padding(len(lead)), *pieces, seal.digest() + padding(length + SEAL_BYTES)]


def sealed_report(report: CallReport, first: int, key: bytes) -> list[Buffer]:
    """Return the buffers of the record that ends a call's, which begin with item `first`."""
    return sealed_record(report.batch, first, 0, report.packed(), [], 0, key)


def open_records(
    data: Buffer, key: bytes, name: str
) -> Iterator[tuple[FileRecord | CallReport, memoryview]]:
    """Yield the records of `data` with their payloads; nothing is unpickled before its HMAC is right.

    Parameters
    ----------
    name
        Of the object that `data` is, for messages.

    Raises
    ------
    BrokenSeal
        If a record was not sealed with `key`, or changed since.
    TornRecord
        If the data end inside a record, or are none.
    """
    view = memoryview(data)
    position = 0
    while position < len(view):
        head = bytes(view[position : position + HEADER.size])
        if len(head) < HEADER.size or head[:4] != MAGIC:
            raise TornRecord(f"{name}: no record at byte {position}")
        _magic, version, flags, batch, count, first, n_meta, length, _ = HEADER.unpack(head)
        if version > VERSION:
            raise TornRecord(f"{name}: written by a newer version (format {version})")
        lead = HEADER.size + n_meta
        offset = position + lead + (-lead % ALIGN)
        end = offset + length + SEAL_BYTES
        if end > len(view):
            raise TornRecord(f"{name}: ends inside the record at byte {position}")
        seal = hmac.new(key, head, hashlib.sha256)
        packed = view[position + HEADER.size : position + lead]
        payload = view[offset : offset + length]
        seal.update(packed)
        seal.update(payload)
        if not flags & SEALED or not hmac.compare_digest(
            seal.digest(), view[end - SEAL_BYTES : end]
        ):
            raise BrokenSeal(name)
        meta = pickle.loads(packed)
        if "end" in meta:
            yield CallReport.unpacked(batch, meta), payload
        else:
            found = BatchMeta.unpacked(meta)
            yield FileRecord(name, batch, first, count, found, offset, length), payload
        position = end + (-end % ALIGN)
