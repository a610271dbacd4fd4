"""The end of a call beside its results: the last of its sealed records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cloudbutton_backend.worker.child_process import ProcessDeath


@dataclass(frozen=True, slots=True)
class Culprit:
    """An item that took its process down."""

    item: int | None
    """None if it is not known which."""
    reason: str
    """died | timeout | memory"""
    death: ProcessDeath


@dataclass(slots=True)
class CallEnd:
    """The end of a call's items."""

    why: str = "done"
    """done | failed (an item) | lease | limit (of the platform) | cancelled | storage | changed (object)"""
    ran: int = 0
    unreadable: bool = False
    culprits: list[Culprit] = field(default_factory=list)
    too_long: list[int] = field(default_factory=list)
    """Items that did not end although they had the whole call."""
    message: str = ""


@dataclass(frozen=True, slots=True)
class CallReport:
    """The end of a call, and what it took."""

    batch: int
    end: CallEnd
    seconds: float
    gets: int = 0
    """Requests to storage."""
    request: str = ""
    """The platform's name for the call."""
    threads: int = 1
    """Of the Dask worker that ran it, whose price they share."""
    memory: int = 0
    """MiB that it could have; 0 if unknown."""

    def packed(self) -> dict[str, Any]:
        """Return it as it travels; the batch is in the record's header."""
        end = self.end
        return {
            "end": {
                "why": end.why,
                "ran": end.ran,
                "unreadable": end.unreadable,
                "culprits": [
                    {
                        "item": each.item,
                        "reason": each.reason,
                        "code": each.death.code,
                        "peak": each.death.peak,
                        "words": each.death.words,
                    }
                    for each in end.culprits
                ],
                "too_long": end.too_long,
                "message": end.message,
            },
            "seconds": self.seconds,
            "gets": self.gets,
            "request": self.request,
            "threads": self.threads,
            "memory": self.memory,
        }

    @classmethod
    def unpacked(cls, batch: int, packed: Mapping[str, Any]) -> CallReport:
        """Return what `packed` says."""
        end = packed["end"]
        culprits = [
            Culprit(
                each["item"],
                each["reason"],
                ProcessDeath(each["code"], each["peak"], each["words"]),
            )
            for each in end["culprits"]
        ]
        return cls(
            batch=batch,
            end=CallEnd(
                why=end["why"],
                ran=end["ran"],
                unreadable=end["unreadable"],
                culprits=culprits,
                too_long=end["too_long"],
                message=end["message"],
            ),
            seconds=packed["seconds"],
            gets=packed.get("gets", 0),
            request=packed.get("request", ""),
            threads=packed.get("threads", 1),
            memory=packed.get("memory", 0),
        )
