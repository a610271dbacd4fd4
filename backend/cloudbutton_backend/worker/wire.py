"""The wire format between processes: parts in a payload, messages on a socket.

A *payload* is a pickle stream followed by its out-of-band buffers (PEP 574), each aligned to 64
bytes, behind a small table::

    u64 count | u64 length, u64 length, … | pad | part 0 | pad | part 1 | …

A *message* on a socket is a fixed header, the pickled tuple of its fields and a body of raw bytes, with
file descriptors as ancillary data where the platform has them.
"""

from __future__ import annotations

import array
import pickle
import socket
import struct
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any, Final

from cloudbutton_backend.worker.messages import NUMBERS, TYPES, Message, Received

ALIGN: Final = 64
ONE_WRITE: Final = 72 * 1024
"""Bytes that are sent together rather than piece by piece."""
Buffer = bytes | bytearray | memoryview

_WORD: Final = struct.Struct("<Q")
#: number of its type, number of descriptors, length of fields, length of body
_HEADER: Final = struct.Struct("<HHIQ")
_PADDING: Final = bytes(ALIGN)
_MAX_FDS: Final = 16


def _aligned(n: int) -> int:
    return (n + ALIGN - 1) & ~(ALIGN - 1)


def raw(part: Any) -> memoryview:
    """Return the bytes of `part` (bytes, PickleBuffer, …) as a flat view, without a copy."""
    if isinstance(part, pickle.PickleBuffer):
        return part.raw()
    view = part if isinstance(part, memoryview) else memoryview(part)
    return view if view.format == "B" and view.ndim == 1 else view.cast("B")


def layout(parts: Sequence[Any]) -> tuple[list[Buffer], int]:
    """Return the buffers to write one after the other for `parts`, and their total length."""
    views = [raw(part) for part in parts]
    lengths = [view.nbytes for view in views]
    table = struct.pack(f"<{len(lengths) + 1}Q", len(lengths), *lengths)
    out: list[Buffer] = [table]
    position = len(table)
    for view, length in zip(views, lengths):
        start = _aligned(position)
        if start != position:
            out.append(_PADDING[: start - position])
        out.append(view)
        position = start + length
    return out, position


def split(payload: memoryview) -> list[memoryview]:
    """Return the parts of `payload` as views into it; the inverse of `layout`."""
    (count,) = _WORD.unpack_from(payload, 0)
    lengths = struct.unpack_from(f"<{count}Q", payload, 8)
    position = 8 * (count + 1)
    parts = []
    for length in lengths:
        position = _aligned(position)
        parts.append(payload[position : position + length])
        position += length
    return parts


def stream_end(payload: Buffer) -> int:
    """Return where the pickle stream ends, part 0 of a payload that has one."""
    count, length = struct.unpack_from("<2Q", payload, 0)
    return _aligned(8 * (int(count) + 1)) + int(length)


def encode(message: Message, body: Iterable[Buffer] = (), n_fds: int = 0) -> list[Buffer]:
    """Return the buffers of one message."""
    packed = pickle.dumps(tuple(message), 5)
    pieces = list(body)
    length = sum(len(piece) for piece in pieces)
    head = _HEADER.pack(NUMBERS[type(message)], n_fds, len(packed), length) + packed
    if length <= ONE_WRITE:  # a socket takes few pieces at once, however small
        return [head + b"".join(pieces)]
    return [head, *pieces]


class Decoder:
    """Turns the bytes of a stream into messages."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._need = _HEADER.size
        self.fds: deque[int] = deque()

    def feed(self, data: Buffer) -> list[Received]:
        """Take `data`; return the messages that are complete now."""
        buffer = self._buffer
        buffer += data
        if len(buffer) < self._need:
            return []
        messages: list[Received] = []
        position = 0
        while True:
            if len(buffer) - position < _HEADER.size:
                self._need = _HEADER.size
                break
            number, n_fds, n_fields, n_body = _HEADER.unpack_from(buffer, position)
            end = position + _HEADER.size + n_fields + n_body
            if len(buffer) < end:
                self._need = end - position
                break
            start = position + _HEADER.size
            with memoryview(buffer) as view:
                fields = pickle.loads(view[start : start + n_fields])
                body = bytes(view[start + n_fields : end])
            fds = [self.fds.popleft() for _ in range(n_fds)]
            messages.append(Received(TYPES[number](*fields), body, fds))
            position = end
        del buffer[:position]
        return messages


def receive(sock: socket.socket, decoder: Decoder, size: int = 1 << 18) -> bytes:
    """Read what is there, descriptors included, into `decoder.fds` and the returned bytes."""
    if not hasattr(sock, "recvmsg"):
        return sock.recv(size)  # ends: as what follows
    # ends: the kernel's sockets do not block, and a worker ends with its kernel
    data, ancillary, _flags, _address = sock.recvmsg(size, socket.CMSG_SPACE(4 * _MAX_FDS))
    for level, kind, content in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds = array.array("i")
            fds.frombytes(content[: len(content) - len(content) % fds.itemsize])
            decoder.fds.extend(fds)
    return data


def send_some(sock: socket.socket, data: Buffer, fds: Sequence[int] = ()) -> int:
    """Send a first stretch of `data`, with `fds` riding on its first byte."""
    if fds:
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))]
        return sock.sendmsg([data], ancillary)
    return sock.send(data)
