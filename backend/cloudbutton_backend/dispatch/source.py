"""Where a job's items come from: a sequence, an iterator pulled as far as needed, or calls pushed in."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from cloudbutton_backend.worker.failures import short_repr


class Source(Protocol):
    """Items by index."""

    @property
    def n_items(self) -> int | None:
        """How many there are in all; None while that is not known."""

    def items(self, first: int, count: int) -> Sequence[Any]:
        """Return consecutive items that are at hand."""

    def describe(self, index: int) -> str:
        """Return a short text that tells the user which item this is."""

    def want(self, upto: int) -> None:
        """The items below `upto` will be needed soon."""

    def release(self, first: int, count: int) -> None:
        """These items have ended; they will be asked for again only if the job is retried."""

    def close(self) -> None:
        """No more items are needed."""


class SequenceSource:
    """All items are at hand."""

    def __init__(self, items: Sequence[Any]) -> None:
        # A copy, as the list may change while the job runs; ranges and arrays are left as they are.
        self._items: Any = list(items) if isinstance(items, list) else items

    @property
    def n_items(self) -> int:
        return len(self._items)

    def items(self, first: int, count: int) -> Sequence[Any]:
        part: Sequence[Any] = self._items[first : first + count]
        return part

    def describe(self, index: int) -> str:
        return f"item {index} ({short_repr(self._items[index])})"

    def want(self, upto: int) -> None:
        """Everything is at hand."""

    def release(self, first: int, count: int) -> None:
        """Nothing to free: the sequence is the user's."""

    def close(self) -> None:
        """Nothing to stop."""


class StreamSource:
    """An iterator, pulled in a thread of its own and no further ahead than is needed.

    Parameters
    ----------
    iterator
        The user's; if it raises, the job fails with that exception and keeps what had ended.
    supply
        Called with (number of items at hand, whether there are no more).
    fail
        Called with the iterator's exception.
    """

    def __init__(
        self,
        iterator: Iterator[Any],
        supply: Callable[[int, bool], None],
        fail: Callable[[BaseException], None],
    ) -> None:
        self._iterator = iterator
        self._supply = supply
        self._fail = fail
        self._kept: dict[int, Any] = {}
        self._count = 0
        self._wanted = 0
        self._ended = False
        self._closed = False
        self._change = threading.Condition()

    def start(self) -> None:
        threading.Thread(target=self._pull, name="cloudbutton-items", daemon=True).start()

    @property
    def n_items(self) -> int | None:
        return self._count if self._ended else None

    def _pull(self) -> None:
        try:
            while True:
                with self._change:
                    # A daemon thread; `close` and `want` wake it, the interpreter's end stops it.
                    while self._count >= self._wanted and not self._closed:
                        self._change.wait(1.0)
                    if self._closed:
                        break
                fresh: list[Any] = []
                while len(fresh) < self._wanted - self._count:
                    try:
                        fresh.append(next(self._iterator))
                    except StopIteration:
                        self._ended = True
                        break
                    if self._is_closed():
                        break
                with self._change:
                    for item in fresh:
                        self._kept[self._count] = item
                        self._count += 1
                self._supply(self._count, self._ended)
                if self._ended:
                    return
        except BaseException as error:
            self._fail(error)
        finally:
            close = getattr(self._iterator, "close", None)
            if self._closed and close is not None:
                close()

    def _is_closed(self) -> bool:
        return self._closed

    def items(self, first: int, count: int) -> Sequence[Any]:
        with self._change:
            return [self._kept[index] for index in range(first, first + count)]

    def describe(self, index: int) -> str:
        with self._change:
            if index in self._kept:
                return f"item {index} ({short_repr(self._kept[index])})"
        return f"item {index}"

    def want(self, upto: int) -> None:
        with self._change:
            if upto > self._wanted:
                self._wanted = upto
                self._change.notify()

    def release(self, first: int, count: int) -> None:
        with self._change:
            for index in range(first, first + count):
                self._kept.pop(index, None)

    def close(self) -> None:
        with self._change:
            self._closed = True
            self._change.notify()


class PushSource:
    """Items that somebody adds one by one, as an executor does."""

    def __init__(self, taken: Callable[[int, Any], Any]) -> None:
        self._taken = taken
        self._kept: dict[int, Any] = {}
        self._count = 0
        self._lock = threading.Lock()
        self._ended = False

    @property
    def n_items(self) -> int | None:
        return self._count if self._ended else None

    def push(self, item: Any) -> int:
        """Add an item; return its index."""
        with self._lock:
            index = self._count
            self._kept[index] = item
            self._count += 1
        return index

    @property
    def count(self) -> int:
        return self._count

    def end(self) -> None:
        self._ended = True

    def items(self, first: int, count: int) -> Sequence[Any]:
        return [self._taken(index, self._kept[index]) for index in range(first, first + count)]

    def describe(self, index: int) -> str:
        return f"call {index} ({short_repr(self._kept.get(index))})"

    def want(self, upto: int) -> None:
        """Items come when they come."""

    def release(self, first: int, count: int) -> None:
        with self._lock:
            for index in range(first, first + count):
                self._kept.pop(index, None)

    def close(self) -> None:
        """Nothing to stop."""
