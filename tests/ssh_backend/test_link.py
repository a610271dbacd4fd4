"""The link delivers each message once and in order, wherever connections break."""

from __future__ import annotations

import os
from collections.abc import Sequence
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudbutton_backend.worker.ssh.link import Link


def written(link: Link) -> bytes:
    """Return all that a link has to write."""
    read, write = os.pipe()
    try:
        link.write(write)
        return os.read(read, 1 << 16)
    finally:
        os.close(read)
        os.close(write)


def pump(
    ends: Sequence[Link], got: Sequence[list[object]], limits: Sequence[float] = (inf, inf)
) -> None:
    """Carry bytes to and fro until there are none; each end reads a bounded number of them."""
    left = [*limits]
    while any(link.wants_to_write for link in ends):
        for here, there in ((0, 1), (1, 0)):
            data = written(ends[there]) if ends[there].wants_to_write else b""
            arrived = data[: int(min(left[here], len(data)))]
            left[here] -= len(arrived)
            got[here].extend(message for message, _ in ends[here].feed(arrived))


COUNTS = st.integers(0, 3)
LIMITS = st.tuples(st.integers(0, 300), st.integers(0, 300))


@given(st.lists(st.tuples(COUNTS, COUNTS, LIMITS), max_size=6))
def test_what_is_sent_arrives_once_and_in_order(
    rounds: list[tuple[int, int, tuple[float, float]]],
) -> None:
    ends, sent, got = (Link("a"), Link("b")), ([], []), ([], [])  # type: ignore[var-annotated]
    for here, there, limits in [*rounds, (1, 1, (inf, inf))]:
        for link in ends:
            link.begin()
        for end, count in enumerate((here, there)):
            for _ in range(count):
                sent[end].append(f"{end}-{len(sent[end])}")
                ends[end].send(sent[end][-1])
        pump(ends, got, limits)
    assert got == (sent[1], sent[0])
    assert not any(link.unconfirmed for link in ends)
    assert [link.peer for link in ends] == ["b", "a"]


def test_a_body_travels_beside_its_message() -> None:
    ends = (Link("a"), Link("b"))
    for link in ends:
        link.begin()
    ends[0].send("message", b"body" * 1000)
    pump((ends[1], ends[0]), ([], []))
    for link in ends:
        link.begin()
    ends[1].feed(written(ends[0]))
    ends[0].feed(written(ends[1]))
    assert not ends[0].unconfirmed
    ends[0].send("another", b"body")
    assert ends[1].feed(written(ends[0])) == [("another", b"body")]


def test_a_connection_that_broke_is_told_when_it_is_written_to() -> None:
    read, write = os.pipe()
    os.close(read)
    link = Link("a")
    link.begin()
    with pytest.raises(OSError):
        link.write(write)
    os.close(write)
