"""Results that are instances of the notebook's classes: they must come back as those of now.

cloudpickle gives a class an id of its own in every kernel, and finds it by that id when a result is
loaded. So with a result the classes inside are noted, each id with what the class is. Where it is
found again, its ids must lead to classes that the new job uses as well; otherwise the result, whose class
would be another one of the same name, is of no use.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from cloudpickle import cloudpickle as _cloudpickle

from cloudbutton_backend.capture.content_digest import Unkeyable, content_of
from cloudbutton_backend.worker.wire import split

_MAKERS: Final = b"cloudbutton_backend.worker.classes"
_ID: Final = re.compile(rb"\x8c\x20([0-9a-f]{32})")
"""How a pickle holds a class's id; other texts may look alike."""


def ids_in(payload: memoryview) -> set[str]:
    """Return the ids of the notebook's classes in a payload; more if other texts look like ids."""
    stream = bytes(split(payload)[0])
    if _MAKERS not in stream:
        return set()
    return {match.decode() for match in _ID.findall(stream)}


def classes_in(payload: memoryview) -> dict[str, str] | None:
    """Return the ids and digests of the notebook's classes in a payload; None if one is not known here."""
    found = {}
    for tracker_id in ids_in(payload):
        digest = digest_of(tracker_id)
        if digest is None:
            return None
        found[tracker_id] = digest
    return found


class LiveClasses:
    """The notebook's classes that a job uses, by the ids that they have in this kernel."""

    def __init__(self, ids: Iterable[str]) -> None:
        self._ids = frozenset(ids)
        self._by_digest: dict[str, list[type]] | None = None

    def take_over(self, recorded: Mapping[str, str]) -> bool:
        """Load a result's classes as the live ones; return whether there is one for each."""
        wanted = {}
        for tracker_id, digest in recorded.items():
            if tracker_id in self._ids:
                continue
            same = self._like(digest)
            if _tracked(tracker_id) not in (None, *same) or len(same) != 1:
                return False
            wanted[tracker_id] = same[0]
        with _cloudpickle._DYNAMIC_CLASS_TRACKER_LOCK:
            _cloudpickle._DYNAMIC_CLASS_TRACKER_BY_ID.update(wanted)
        return True

    def _like(self, digest: str) -> list[type]:
        if self._by_digest is None:
            self._by_digest = {}
            for tracker_id in self._ids:
                cls = _tracked(tracker_id)
                of_it = None if cls is None else _digest(cls)
                if cls is not None and of_it is not None:
                    self._by_digest.setdefault(of_it, []).append(cls)
        return self._by_digest.get(digest, [])


def _tracked(tracker_id: str) -> type | None:
    with _cloudpickle._DYNAMIC_CLASS_TRACKER_LOCK:
        found: Any = _cloudpickle._DYNAMIC_CLASS_TRACKER_BY_ID.get(tracker_id)
    return found if isinstance(found, type) else None


def digest_of(tracker_id: str) -> str | None:
    """Return the digest of the class that has an id in this kernel; None if none has it."""
    cls = _tracked(tracker_id)
    return None if cls is None else _digest(cls)


def _digest(cls: type) -> str | None:
    try:
        return content_of(cls).digest.hex()
    except Unkeyable:
        return None
