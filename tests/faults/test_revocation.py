"""Revocation without a lock: whatever the worker and the kernel do in which order, nothing runs twice."""

from __future__ import annotations

import mmap
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from cloudbutton_backend.backends.local import LocalBackend
from cloudbutton_backend.backends.protocol import BatchEnded, Revoked
from cloudbutton_backend.testing.protocol_suite import ManualDriver
from cloudbutton_backend.worker import status_page


class Scene:
    """A worker and its kernel at one page, moved step by step, each as the real one acts there."""

    def __init__(self) -> None:
        self.words = status_page.view(mmap.mmap(-1, status_page.SIZE))
        status_page.reset(self.words)
        self.sent = 0
        """Ordinals below this one were sent."""
        self.held: dict[int, int] = {}
        """What the kernel has not heard the end of: first ordinal and count of each batch."""
        self.settling: deque[tuple[int, int]] = deque()
        self.ended: deque[int] = deque()
        self.taken_back: set[int] = set()
        self.ran: set[int] = set()
        self._batches: list[range] = []
        self._worker = self._work()

    def _work(self) -> Iterator[None]:
        words, at = self.words, 0
        while True:
            while at == len(self._batches):
                yield
            for ordinal in self._batches[at]:
                words[status_page.CURRENT] = ordinal
                yield
                high = words[status_page.HIGH]
                yield
                if ordinal < high and ordinal >= words[status_page.LOW]:
                    break
                yield
                self.ran.add(ordinal)
            self.ended.append(self._batches[at].start)
            at += 1

    def work(self, steps: int) -> None:
        for _ in range(steps):
            next(self._worker)

    def send(self, count: int) -> None:
        self._batches.append(range(self.sent, self.sent + count))
        self.held[self.sent] = count
        self.sent += count

    def hear(self, messages: int) -> None:
        """Let the kernel hear of batches that have ended."""
        for _ in range(min(messages, len(self.ended))):
            del self.held[self.ended.popleft()]

    def revoke(self, keep: int) -> None:
        if not self.held:
            return
        current, oldest = self.words[status_page.CURRENT], min(self.held)
        begun = current + 1 if current != status_page.NEVER and current >= oldest else oldest
        low = status_page.revoke(self.words, begun + keep, self.sent)
        self.settling.append((low, self.sent))

    def settle(self, revocations: int) -> None:
        """Let this many revocations be surely seen; what they took back runs elsewhere."""
        for _ in range(min(revocations, len(self.settling))):
            low, high = self.settling.popleft()
            current = self.words[status_page.CURRENT]
            if current != status_page.NEVER:
                low = max(low, current + 1)
            for base, count in self.held.items():
                start, stop = max(low, base), min(base + count, high)
                if start < stop:
                    self.taken_back |= set(range(start, base + count))
                    self.held[base] = start - base


def test_a_second_revocation_does_not_free_what_the_first_took_back() -> None:
    scene = Scene()
    scene.send(2)
    scene.work(3)  # it runs item 0
    scene.revoke(0)
    scene.settle(1)  # item 1 has not begun: it goes elsewhere
    scene.work(1)
    assert scene.words[status_page.CURRENT] == 1  # and is held up just before its look at the range
    scene.revoke(0)
    scene.work(4)
    assert (scene.ran, scene.taken_back) == ({0}, {1})


def test_what_is_sent_while_a_revocation_settles_is_not_taken_back(tmp_path: Path) -> None:
    """Else it is run by two workers: the page does not forbid it."""
    now = [0.0]  # a clock that stands still, so that nothing settles
    hand = ManualDriver(LocalBackend(workers=1, clock=lambda: now[0]), tmp_path)
    try:
        hand.open()
        first = hand.submit(0, 1)
        hand.backend.revoke(hand.worker, 0)
        hand.until(BatchEnded, lambda event: event.batch == first)
        second = hand.submit(1, 2)
        hand.await_begun(1)
        now[0] = 1.0
        hand.open_gate()
        hand.until(BatchEnded, lambda event: event.batch == second)
        assert [event for event in hand.all(Revoked) if event.batch == second] == []
        assert hand.begun()[-2:] == [1, 2]
    finally:
        hand.backend.close()


_steps = st.tuples(
    st.sampled_from([Scene.work, Scene.send, Scene.hear, Scene.revoke, Scene.settle]),
    st.integers(1, 4),
)


@settings(max_examples=400, deadline=None)
@given(st.lists(_steps, max_size=40))
def test_what_was_taken_back_never_runs(steps: list[tuple[object, int]]) -> None:
    scene = Scene()
    for step, much in steps:
        step(scene, much)  # type: ignore[operator]
    scene.work(4 * scene.sent + 8)
    assert not scene.ran & scene.taken_back
