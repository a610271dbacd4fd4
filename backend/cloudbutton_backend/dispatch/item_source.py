"""Sources of a job's items: a sequence, an iterator pulled as far as needed, or calls pushed in."""

from __future__ import annotations

import sys
import threading
from collections import deque
from collections.abc import Callable, ItemsView, Iterator, KeysView, Sequence, ValuesView
from typing import Any, Final, Protocol

from cloudbutton_backend.worker.failures import short_repr

AHEAD_BYTES: Final = 32 << 20
"""Items of a stream that are pulled ahead of their need take about so much memory at most."""
_SMALL: Final = frozenset({int, float, complex, bool, type(None)})
MANY: Final = 1 << 24
"""A range of more numbers is pulled: the dispatcher's notes about all of them would fill the memory."""
_SIZED: Final = (
    dict,
    set,
    frozenset,
    deque,
    str,
    bytes,
    bytearray,
    KeysView,
    ValuesView,
    ItemsView,
)
"""Types that are certainly finite and quick to copy, beside sequences."""


class ItemSource(Protocol):
    """Items by index."""

    @property
    def n_items(self) -> int | None:
        """The number of all items; None while it is unknown."""

    def items(self, first: int, count: int) -> Sequence[Any]:
        """Return consecutive items that are available."""

    def describe(self, index: int) -> str:
        """Return a short text that tells the user which item this is."""

    def want(self, least: int, upto: int) -> None:
        """The items below `least` are needed now, those below `upto` soon."""

    def release(self, first: int, count: int) -> None:
        """These items have ended; they will be asked for again only if the job is retried."""

    def close(self) -> None:
        """No more items are needed."""

    def forget(self) -> None:
        """Every item has a result: none will ever be asked for again."""


def fixed(items: Any) -> Sequence[Any] | None:
    """Return `items` as they are now, as something that can be sliced; None if they must be pulled.

    A copy where they could change while the job runs: a dictionary that grows, an array whose
    rows are overwritten. What the elements themselves hold is not copied.
    """
    if isinstance(items, range):
        return items if len(items) <= MANY else None
    if isinstance(items, (list, tuple, *_SIZED)):
        return list(items)
    if type(items).__module__.partition(".")[0] == "numpy" and getattr(items, "ndim", 0) > 0:
        rows: Sequence[Any] = items.copy()
        return rows
    return None


class SequenceSource:
    """All items are available from the start.

    Parameters
    ----------
    shown
        Turns an item into what messages call it, where that is not the item itself.
    before
        How many items of the same loop ran before these; messages count them.
    """

    def __init__(
        self,
        items: Sequence[Any],
        shown: Callable[[Any], Any] | None = None,
        before: int = 0,
    ) -> None:
        self._items: Any = items
        self._count = len(items)
        self._shown = shown
        self._before = before

    @property
    def n_items(self) -> int:
        return self._count

    def items(self, first: int, count: int) -> Sequence[Any]:
        part: Sequence[Any] = self._items[first : first + count]
        return part

    def describe(self, index: int) -> str:
        item = self._items[index]
        shown = item if self._shown is None else self._shown(item)
        return f"item {index + self._before} ({short_repr(shown)})"

    def held(self, first: int, most: int) -> tuple[int, Sequence[Any]]:
        """Return where the available items from `first` on begin, and at most `most` of them."""
        return first, self._items[first : first + most]

    def want(self, least: int, upto: int) -> None:
        """Everything is available."""

    def release(self, first: int, count: int) -> None:
        """Nothing to free before all of it is."""

    def close(self) -> None:
        """Nothing to stop."""

    def forget(self) -> None:
        self._items = ()


class StreamSource:
    """An iterator, pulled in a thread of its own and no further ahead than is needed.

    Parameters
    ----------
    iterator
        The user's.
    supply
        Called with (number of available items, whether there are no more).
    fail
        Called with what the iterator raised; what it gave before is supplied all the same.
    """

    def __init__(
        self,
        iterator: Iterator[Any],
        supply: Callable[[int, bool], None],
        fail: Callable[[BaseException], None],
    ) -> None:
        self._iterator: Iterator[Any] | None = iterator
        self._supply = supply
        self._fail = fail
        self._kept: dict[int, tuple[Any, int]] = {}
        """Item and its rough size, by index"""
        self._bytes = 0
        self._count = 0
        self._announced = 0
        self._least = self._upto = 0
        self._ended = False
        self._closed = False
        self._change = threading.Condition()

    def start(self) -> None:
        threading.Thread(target=self._pull, name="cloudbutton-items", daemon=True).start()

    @property
    def n_items(self) -> int | None:
        return self._count if self._ended else None

    def _pull(self) -> None:
        iterator, self._iterator = self._iterator, None
        assert iterator is not None
        try:
            while self._await_need():
                self._keep(next(iterator))
        except StopIteration:
            self._ended = True
        except BaseException as error:
            self._ended = True
            self._fail(error)
        if self._ended:
            self._supply(self._count, True)
            return
        close = getattr(iterator, "close", None)
        if close is not None:
            close()

    def _await_need(self) -> bool:
        """Wait until another item is needed; return False if none ever will be."""
        with self._change:
            while not self._closed and self._has_enough():
                self._announce()
                self._change.wait(1.0)  # a daemon thread: the interpreter's end stops it
            return not self._closed

    def _has_enough(self) -> bool:
        if self._count < self._least:
            return False
        return self._count >= self._upto or self._bytes >= AHEAD_BYTES

    def _keep(self, item: Any) -> None:
        size = _rough_size(item)
        with self._change:
            self._kept[self._count] = item, size
            self._bytes += size
            self._count += 1
            if self._announced < self._least:  # a thread waits for it; else they go in one piece
                self._announce()

    def _announce(self) -> None:
        if self._announced < self._count:
            self._announced = self._count
            self._supply(self._count, False)

    def items(self, first: int, count: int) -> Sequence[Any]:
        with self._change:
            return [self._kept[index][0] for index in range(first, first + count)]

    def describe(self, index: int) -> str:
        with self._change:
            if index in self._kept:
                return f"item {index} ({short_repr(self._kept[index][0])})"
        return f"item {index}"

    def held(self, first: int, most: int) -> tuple[int, Sequence[Any]]:
        """Return where the available items from `first` on begin, and at most `most` of them.

        Items with results are no longer available, and items that were not needed yet not before.
        """
        with self._change:
            while first < self._count and first not in self._kept:
                first += 1
            stop = first
            while stop in self._kept and stop - first < most:
                stop += 1
            return first, [self._kept[index][0] for index in range(first, stop)]

    def want(self, least: int, upto: int) -> None:
        with self._change:
            self._least, self._upto = max(least, self._least), max(upto, self._upto)
            if self._announced < self._least:
                self._announce()
            self._change.notify()

    def release(self, first: int, count: int) -> None:
        with self._change:
            for index in range(first, first + count):
                self._bytes -= self._kept.pop(index, (None, 0))[1]
            self._change.notify()

    def close(self) -> None:
        with self._change:
            self._closed = True
            self._change.notify()

    def forget(self) -> None:
        """Nothing is kept of items that have results."""


def _rough_size(item: Any) -> int:
    """Return about how many bytes an item holds, looking one level deep."""
    if type(item) in _SMALL:
        return 32
    if isinstance(item, (tuple, list)) and len(item) <= 16:
        return sum(map(_own_size, item))
    if isinstance(item, dict) and len(item) <= 16:
        return sum(map(_own_size, item.values()))
    return _own_size(item)


def _own_size(item: Any) -> int:
    nbytes = getattr(item, "nbytes", None)
    return nbytes if isinstance(nbytes, int) else sys.getsizeof(item, 64)


class PushSource:
    """Items that are added one by one, as an executor does."""

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
        # Of a call that was answered or given up nothing is left; something is sent in its place.
        return [self._taken(index, self._kept.get(index)) for index in range(first, first + count)]

    def describe(self, index: int) -> str:
        return f"call {index} ({short_repr(self._kept.get(index))})"

    def want(self, least: int, upto: int) -> None:
        """Items come when they come."""

    def release(self, first: int, count: int) -> None:
        with self._lock:
            for index in range(first, first + count):
                self._kept.pop(index, None)

    def close(self) -> None:
        """Nothing to stop."""

    def forget(self) -> None:
        """Nothing is kept of items that have results."""
