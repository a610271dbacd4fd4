"""The items of a loop: taken one by one at first, and all the rest at once when they travel."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Iterable, Iterator
from typing import Any, Final

END: Final = object()


class _Feed:
    """Stands in for the iterable inside a progress bar, so that its items can be looked up."""

    def __init__(self, items: Iterator[Any]) -> None:
        self.items = items

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        return next(self.items)


class Source:
    """The items of an iterable, each handed out once.

    A progress bar (tqdm) is kept in step: the items are taken out of what it wraps, and
    the bar moves when `step` is called for each finished item.
    """

    def __init__(self, iterable: Iterable[Any]) -> None:
        self._hint = operator.length_hint(iterable, -1)
        self._feed: _Feed | None = None
        if type(iterable).__module__.startswith("tqdm") and hasattr(iterable, "iterable"):
            self._feed = _Feed(iter(iterable.iterable))
            iterable.iterable = self._feed
        self.steps = iter(iterable)
        self.taken = 0

    def first(self) -> Any:
        """Return the next item and keep it for later; `END` if there is none."""
        inner = self._feed.items if self._feed is not None else self.steps
        item = next(inner, END)
        if item is not END:
            back = itertools.chain([item], inner)
            if self._feed is not None:
                self._feed.items = back
            else:
                self.steps = back
        return item

    def remaining(self) -> int | None:
        """Return how many items are left, None where nobody knows."""
        return max(self._hint - self.taken, 0) if self._hint >= 0 else None

    def some(self, count: int) -> Iterator[Any]:
        """Return an iterator over the next `count` items."""
        self.taken += count
        return itertools.islice(self.steps, count)

    def rest(self) -> list[Any]:
        """Return all items that are left; each `step` then passes one of them."""
        inner = self._feed.items if self._feed is not None else self.steps
        items = list(inner)
        if self._feed is not None:
            self._feed.items = iter(items)
        else:
            self.steps = iter(items)
        return items

    def step(self) -> None:
        """Pass one item: it was dealt with elsewhere."""
        next(self.steps, None)
