"""A worker of the floor: functions and batches in, results out, over one socket."""

from __future__ import annotations

import pickle
import socket
import struct
import sys
import time

_LENGTH = struct.Struct("<Q")


def send(connection: socket.socket, frame: bytes) -> None:
    """Send one length-prefixed frame; small ones in a single call."""
    if len(frame) < 65536:
        connection.sendall(_LENGTH.pack(len(frame)) + frame)
    else:
        connection.sendall(_LENGTH.pack(len(frame)))
        connection.sendall(frame)


def receive(connection: socket.socket) -> bytearray | None:
    """Return the next frame, or None when the other side is gone."""
    head = _receive_exactly(connection, _LENGTH.size)
    return None if head is None else _receive_exactly(connection, _LENGTH.unpack(head)[0])


def _receive_exactly(connection: socket.socket, size: int) -> bytearray | None:
    data = bytearray(size)
    view = memoryview(data)
    while view:
        try:
            count = connection.recv_into(view)
        except ConnectionResetError:
            return None
        if not count:
            return None
        view = view[count:]
    return data


def serve(connection: socket.socket) -> None:
    """Run batches until the parent closes its end; a frame that is no batch is a new function."""
    function = None
    while (frame := receive(connection)) is not None:
        message = pickle.loads(frame)
        if callable(message):
            function = message
            continue
        start, items = message
        began = time.perf_counter()
        values = [function(item) for item in items]  # type: ignore[misc]
        seconds = time.perf_counter() - began
        send(connection, pickle.dumps((start, values, seconds), 5))


if __name__ == "__main__":
    sys.path[:] = sys.argv[2:]
    serve(socket.socket(fileno=int(sys.argv[1])))
