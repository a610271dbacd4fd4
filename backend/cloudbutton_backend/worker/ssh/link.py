"""Messages between a kernel and its agent: each arrives once and in order, whatever connections break.

Each end counts what it receives and tells the other, which keeps what it sent until then. When a new
connection replaces a broken one, both say how far they got, and what is missing is sent again.
Bytes go in and come out here; time and descriptors are the caller's.
"""

from __future__ import annotations

import os
import pickle
import struct
from collections import deque
from typing import Any, Final, NamedTuple

from cloudbutton_backend.worker.wire import Buffer

#: Length of the pickled message, length of the body.
_HEADER: Final = struct.Struct("<IQ")


class Hello(NamedTuple):
    """Begins a connection."""

    received: int
    about: Any
    """What the sender tells of itself."""


class Ack(NamedTuple):
    """Acknowledges that `received` messages have arrived."""

    received: int


class Ping(NamedTuple):
    """Tells that this end is alive."""


class Command(NamedTuple):
    """A command to the agent: `Agent` lists the names. A body is the last argument."""

    name: str
    arguments: tuple[Any, ...]


class Versions(NamedTuple):
    """The answer to the command of that name; None for a distribution that is not installed."""

    found: dict[str, str | None]


class Link:
    """One end.

    Parameters
    ----------
    about
        What the other end is told when a connection begins; not None.
    """

    def __init__(self, about: Any) -> None:
        self.about = about
        self.peer: Any = None
        """What the other end told of itself; None before it did."""
        self.unconfirmed = 0
        """Bytes sent that may not have arrived."""
        self._is_open = False
        self._sent: deque[bytes] = deque()
        self._n_confirmed = self._n_received = 0
        self._incoming = bytearray()
        self._outgoing: deque[memoryview] = deque()

    def begin(self) -> None:
        """Use a new connection."""
        self._is_open = False
        self._incoming.clear()
        self._outgoing.clear()
        self._put(_frame(Hello(self._n_received, self.about)))

    def send(self, message: Any, body: Buffer = b"") -> None:
        """Send a message: now, or when there is a connection."""
        frame = _frame(message, body)
        self._sent.append(frame)
        self.unconfirmed += len(frame)
        if self._is_open:
            self._put(frame)

    def ping(self) -> None:
        """Show the other end that this one is there."""
        if self._is_open and not self._outgoing:
            self._put(_frame(Ping()))

    def feed(self, data: bytes) -> list[tuple[Any, bytes]]:
        """Take what has arrived; return the messages that are complete, with their bodies."""
        self._incoming += data
        messages = []
        while (found := self._next()) is not None:
            message = found[0]
            if isinstance(message, (Hello, Ack)):
                self._confirm(message.received)
            if isinstance(message, Hello):
                self.peer, self._is_open = message.about, True
                for frame in self._sent:
                    self._put(frame)
            elif not isinstance(message, (Ack, Ping)):
                messages.append(found)
        if messages:
            self._n_received += len(messages)
            self._put(_frame(Ack(self._n_received)))
        return messages

    @property
    def wants_to_write(self) -> bool:
        return bool(self._outgoing)

    def write(self, fd: int) -> None:
        """Write what a descriptor takes now.

        Raises
        ------
        OSError
            The connection broke.
        """
        outgoing = self._outgoing
        while outgoing:
            try:
                written = os.write(fd, outgoing[0])
            except BlockingIOError:
                return
            if written == len(outgoing[0]):
                outgoing.popleft()
            else:
                outgoing[0] = outgoing[0][written:]

    def _put(self, frame: bytes) -> None:
        self._outgoing.append(memoryview(frame))

    def _confirm(self, received: int) -> None:
        while self._n_confirmed < received:
            self.unconfirmed -= len(self._sent.popleft())
            self._n_confirmed += 1

    def _next(self) -> tuple[Any, bytes] | None:
        """Return the next complete message, None if there is none."""
        incoming = self._incoming
        if len(incoming) < _HEADER.size:
            return None
        n_message, n_body = _HEADER.unpack_from(incoming)
        start = _HEADER.size + n_message
        if len(incoming) < start + n_body:
            return None
        with memoryview(incoming) as view:
            message = pickle.loads(view[_HEADER.size : start])
            body = bytes(view[start : start + n_body])
        del incoming[: start + n_body]
        return message, body


def _frame(message: Any, body: Buffer = b"") -> bytes:
    packed = pickle.dumps(message, 5)
    return b"".join((_HEADER.pack(len(packed), len(body)), packed, body))
