"""What an adapter offers to the cases. Imports nothing, for the sake of the cold start."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any


class BaseEngine:
    """A pool of workers behind the four calls that the cases need."""

    def __init__(self, workers: int) -> None:
        self.workers = workers

    def map(
        self, f: Callable[[Any], Any], items: Sequence[Any], chunk: int | None = None
    ) -> list[Any]:
        """Return `f` of every item, in order; `chunk` is the tuned variant's."""
        raise NotImplementedError

    def stream(self, f: Callable[[Any], Any], items: Sequence[Any]) -> Iterator[Any]:
        """Yield results as they finish, in any order."""
        raise NotImplementedError

    def survive(self, f: Callable[[Any], Any], items: Sequence[Any]) -> Survival:
        """Run a job in which a worker dies; engines that keep nothing inherit this."""
        try:
            return Survival(self.map(f, items), None)
        except Exception as error:
            return Survival([], error)

    def close(self) -> None:
        """Let the workers go."""


class Survival:
    """What a job with a dying worker brought: the results kept, and the error if there was one.

    `known_at` is when the caller learnt of it, by the monotonic clock.
    """

    def __init__(
        self, kept: list[Any], error: BaseException | None, known_at: float | None = None
    ) -> None:
        import time

        self.kept = kept
        self.error = error
        self.known_at = time.monotonic() if known_at is None else known_at
