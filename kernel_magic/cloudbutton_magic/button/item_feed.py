"""The items of a loop: a few at a time while they run here, all the rest when they travel."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Iterable, Iterator
from typing import Any


class _ReplaceableIterator:
    """Stands in for the iterable inside a progress bar, so that its items can be looked up."""

    def __init__(self, items: Iterator[Any]) -> None:
        self.items = items

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        return next(self.items)


class ItemFeed:
    """The items of an iterable, each handed out once, and none before it is asked for.

    A generator may print, and a loop may change the list it walks: as long as the loop runs
    here nothing is taken ahead, and iterators of C do the walking.

    A progress bar (tqdm) is kept in step: the items are taken out of what it wraps, and
    the bar moves when `skip_one` is called for each finished item.
    """

    def __init__(self, iterable: Iterable[Any]) -> None:
        self._hint = operator.length_hint(iterable, -1)
        self._replaceable: _ReplaceableIterator | None = None
        if type(iterable).__module__.startswith("tqdm") and hasattr(iterable, "iterable"):
            self._replaceable = _ReplaceableIterator(iter(iterable.iterable))
            iterable.iterable = self._replaceable
        # Immutable sequences are sliced, which costs nothing per item.
        self._sequence = iterable if type(iterable) in (range, tuple) else None
        self._rest: Iterator[Any] | None = None
        if self._sequence is None:
            self._rest = itertools.chain(iter(iterable), self._note_end())
        self.taken = 0
        self.ended = False

    def _note_end(self) -> Iterator[Any]:
        """Note that the last item was passed; yield nothing."""
        self.ended = True
        yield from ()

    @property
    def remaining_items(self) -> Iterator[Any]:
        """All items not handed out yet, one by one."""
        if self._rest is None:
            assert self._sequence is not None
            self._rest = iter(self._sequence[self.taken :])  # type: ignore[index]
        return self._rest

    def remaining(self) -> int | None:
        """Return how many items are left, None if unknown."""
        return max(self._hint - self.taken, 0) if self._hint >= 0 else None

    def next_items(self, count: int) -> Iterator[Any]:
        """Return an iterator over the next `count` items, or as many as there are."""
        start, self.taken = self.taken, self.taken + count
        if self._rest is not None:
            return itertools.islice(self._rest, count)
        assert self._sequence is not None
        self.ended = self.taken >= len(self._sequence)  # type: ignore[arg-type]
        return iter(self._sequence[start : self.taken])  # type: ignore[index]

    def all_remaining(self) -> list[Any]:
        """Return all items that are left; each `skip_one` then passes one of them."""
        if self._replaceable is not None:
            items = list(self._replaceable.items)
            self._replaceable.items = iter(items)
        else:
            items = list(self.remaining_items)
            self._rest = iter(items)
        return items

    def skip_one(self) -> None:
        """Skip one item: it was run elsewhere."""
        next(self.remaining_items, None)
