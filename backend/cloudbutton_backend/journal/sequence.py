"""Numbers the changes of each transaction, so that a reader asks only for those that are new to it."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import sqlite3

#: Removed jobs that are remembered. A reader that missed more of them has to start over.
MAX_REMOVED: Final = 1_000


@dataclass(frozen=True)
class Position:
    """A reader's position in a journal."""

    epoch: str
    number: int

    @classmethod
    def parse(cls, text: str | None) -> Position:
        """Return what `str` wrote; anything else is the beginning of no journal."""
        epoch, _, number = (text or "").partition(".")
        return cls(epoch, int(number)) if number.isascii() and number.isdigit() else cls("", 0)

    def __str__(self) -> str:
        return f"{self.epoch}.{self.number}"


def mark_changed(
    connection: sqlite3.Connection, jobs: Iterable[str], *, errors: Collection[str] = ()
) -> None:
    """Give `jobs` the next number, and those whose `errors` changed one for these, too.

    To be called within the transaction that changes them: writers wait for each other, so the numbers
    have the order of the commits, and who has seen one has seen all before it.
    """
    number = _next(connection)
    connection.executemany(
        "UPDATE jobs SET changed = ? WHERE id = ?", [(number, job_id) for job_id in jobs]
    )
    connection.executemany(
        "UPDATE jobs SET errors_changed = ? WHERE id = ?", [(number, job_id) for job_id in errors]
    )


def mark_removed(connection: sqlite3.Connection, jobs: Iterable[str]) -> None:
    """Note that `jobs` are gone; of those before them the latest are remembered."""
    number = _next(connection)
    connection.executemany(
        "INSERT INTO removed (changed, job_id) VALUES (?, ?)", [(number, job_id) for job_id in jobs]
    )
    connection.execute(_FORGET, {"kept": MAX_REMOVED})
    connection.execute("DELETE FROM removed WHERE changed <= (SELECT forgotten FROM changes)")


#: All of one number go together, so that no reader gets only a part of them.
_FORGET: Final = """
    UPDATE changes SET forgotten = max(forgotten, ifnull(
        (SELECT changed FROM removed ORDER BY changed DESC LIMIT 1 OFFSET :kept), 0
    ))
"""


def _next(connection: sqlite3.Connection) -> int:
    connection.execute("UPDATE changes SET latest = latest + 1")
    return int(connection.execute("SELECT latest FROM changes").fetchone()[0])
