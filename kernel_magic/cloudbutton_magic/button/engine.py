"""The boundary to whatever runs the items: what the button asks of it, and nothing more."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from cloudbutton_backend.job_model.outcome import ItemOutcome


class Mapper(Protocol):
    """Runs ``body(item)`` for all items in other processes.

    Yields the outcomes in item order, lazily; closing the iterator cancels the rest. The body
    watches what it captured by itself, so the engine needs no guard of its own. What `plan`
    returns is for the record: readable Python of what became of the loop. So many items as
    `before` says ran already: where the user reads an item's number, it counts them.
    """

    def __call__(
        self,
        body: Callable[[Any], Any],
        items: Sequence[Any],
        *,
        label: str,
        line: int,
        before: int,
        plan: Callable[[], str],
    ) -> Iterator[ItemOutcome]: ...
