"""Messages between a kernel and its agent: each arrives once and in order, whatever connections break.

Each end counts what it receives and tells the other, which keeps what it sent until then. When a new
connection replaces a broken one, both say how far they got, and what is missing is sent again.
Bytes go in and come out here; time and descriptors are the caller's.
"""

from __future__ import annotations

import os
from collections import deque
from typing import Any, Final, NamedTuple

from cloudbutton_backend.worker.messages import LinkMessage
from cloudbutton_backend.worker.wire import Buffer, Decoder, encode

WINDOW: Final = 16 << 20
"""Bytes on their way at a time, so that what is urgent soon gets through."""


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
    """One end. `send` is safe from any thread.

    Parameters
    ----------
    about
        What the other end is told when a connection begins; not None.
    """

    def __init__(self, about: Any) -> None:
        self.about = about
        self.peer: Any = None
        """What the other end told of itself; None before it did."""
        self._is_open = False
        self._urgent: deque[list[Buffer]] = deque()
        self._waiting: deque[list[Buffer]] = deque()
        self._sent: deque[list[Buffer]] = deque()
        """What may not have arrived."""
        self.unconfirmed = 0
        """Bytes sent that may not have arrived."""
        self._n_confirmed = self._n_received = 0
        self._decoder = Decoder()
        self._outgoing: deque[memoryview] = deque()

    def begin(self) -> None:
        """Use a new connection."""
        self._is_open = False
        self._decoder = Decoder()
        self._outgoing.clear()
        self._put(_frame(Hello(self._n_received, self.about)))

    def send(self, message: Any, body: Buffer = b"", urgent: bool = False) -> None:
        """Send a message when there is a connection, and room on it.

        Parameters
        ----------
        body
            Must not change.
        urgent
            Whether it goes before what waits.
        """
        (self._urgent if urgent else self._waiting).append(_frame(message, body))

    def ping(self) -> None:
        """Show the other end that this one is there."""
        if self._is_open and not self._outgoing:
            self._put(_frame(Ping()))

    def feed(self, data: bytes) -> list[tuple[Any, bytes]]:
        """Take what has arrived; return the messages that are complete, with their bodies."""
        messages = []
        for received in self._decoder.feed(data):
            message = received.message[0]
            if isinstance(message, (Hello, Ack)):
                self._confirm(message.received)
            if isinstance(message, Hello):
                self.peer, self._is_open = message.about, True
                for frame in self._sent:
                    self._put(frame)
            elif not isinstance(message, (Ack, Ping)):
                messages.append((message, received.body))
        if messages:
            self._n_received += len(messages)
            self._put(_frame(Ack(self._n_received)))
        return messages

    @property
    def is_congested(self) -> bool:
        """Whether what is sent now, and is not urgent, has to wait."""
        return self.unconfirmed >= WINDOW

    @property
    def wants_to_write(self) -> bool:
        return bool(self._outgoing or self._next_queue())

    def write(self, fd: int) -> None:
        """Write what a descriptor takes now.

        Raises
        ------
        OSError
            The connection broke.
        """
        outgoing = self._outgoing
        while self.wants_to_write:
            if queue := self._next_queue():
                frame = queue.popleft()
                self._sent.append(frame)
                self.unconfirmed += _size(frame)
                self._put(frame)
            try:
                written = os.write(fd, outgoing[0])
            except BlockingIOError:
                return
            if written == len(outgoing[0]):
                outgoing.popleft()
            else:
                outgoing[0] = outgoing[0][written:]

    def _next_queue(self) -> deque[list[Buffer]] | None:
        """Return from where the next message may be sent, None if there is none."""
        if not self._is_open:
            return None
        if self._urgent:
            return self._urgent
        return self._waiting if self._waiting and self.unconfirmed < WINDOW else None

    def _put(self, frame: list[Buffer]) -> None:
        self._outgoing.extend(map(memoryview, frame))

    def _confirm(self, received: int) -> None:
        while self._n_confirmed < received:
            self.unconfirmed -= _size(self._sent.popleft())
            self._n_confirmed += 1


def _frame(message: Any, body: Buffer = b"") -> list[Buffer]:
    return encode(LinkMessage(message), [body] if body else [])


def _size(frame: list[Buffer]) -> int:
    return sum(map(len, frame))
