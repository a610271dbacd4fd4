"""Result records that leave a machine: all of each is sealed.

The format is that of `result_file`. The key belongs to one job: the process that drives the job derives it
and sends it along with each call.
"""

from __future__ import annotations

import hmac
import pickle
from collections.abc import Iterator

from cloudbutton_backend.worker.batch_meta import BatchMeta, PackedMeta
from cloudbutton_backend.worker.call_end import CallReport
from cloudbutton_backend.worker.result_file import (
    HEADER_BYTES,
    SEAL_BYTES,
    FileRecord,
    TornRecord,
    new_seal,
    pack_record,
    read_header,
)
from cloudbutton_backend.worker.wire import Buffer


class BrokenSeal(Exception):
    """An HMAC is missing or wrong: this was written without the key, or changed since."""


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
    return pack_record(batch, first, count, packed, pieces, length, key, length)[0]


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
        head = bytes(view[position : position + HEADER_BYTES])
        header = read_header(head, name, position)
        if position + header.end > len(view):
            raise TornRecord(f"{name}: ends inside the record at byte {position}")
        packed = view[position + HEADER_BYTES :][: header.n_meta]
        offset = position + header.offset
        payload = view[offset : offset + header.length]
        seal = new_seal(key, head)
        seal.update(packed)
        seal.update(payload)
        found = view[offset + header.length :][:SEAL_BYTES]
        if header.sealed != header.length or not hmac.compare_digest(seal.digest(), found):
            raise BrokenSeal(name)
        meta = pickle.loads(packed)
        if "end" in meta:
            yield CallReport.unpacked(header.batch, meta), payload
        else:
            batch, count, first, _, length, _, crc = header
            unpacked = BatchMeta.unpacked(meta)
            yield FileRecord(name, batch, first, count, unpacked, offset, length, crc), payload
        position += header.size
