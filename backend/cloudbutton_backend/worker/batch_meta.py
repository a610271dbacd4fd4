"""Metadata of the results of consecutive items.

In memory it is a `BatchMeta`. On its way and in result files it is a dictionary with short keys and without
what is not there; docs/journal-format.md lists them. Files of other versions may have other keys as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from cloudbutton_backend.worker.failures import PackedError
    from cloudbutton_backend.worker.output import Entry

PackedMeta = dict[str, Any]
"""A `BatchMeta` as it travels."""

#: By the name of the field: the key in a `PackedMeta`, left out where there is nothing to say.
_OPTIONAL: Final = {
    "delay": "delay",
    "memory_peak": "rss",
    "errors": "errors",
    "outputs": "outputs",
    "changed": "changed",
    "drew": "drew",
    "early": "early",
}


@dataclass(slots=True)
class BatchMeta:
    """Durations, errors, output and changes of consecutive items. Times are seconds."""

    started: float = 0.0
    """Unix time when the worker began with them."""
    seconds: float = 0.0
    cpu: float = 0.0
    delay: float = 0.0
    """How long they waited for a CPU."""
    memory_peak: int = 0
    """The worker's resident peak so far, bytes; 0 if unknown."""
    ends: list[tuple[int, int]] | None = None
    """Of values pickled one by one: where each ends in the stream, and among the buffers. None: the
    stream is one list."""
    errors: dict[int, PackedError] = field(default_factory=dict)
    """By offset from the first item."""
    outputs: dict[int, list[Entry]] = field(default_factory=dict)
    """What items printed and displayed, by their index."""
    changed: list[str] = field(default_factory=list)
    """Names of captured values that an item changed."""
    drew: list[int] = field(default_factory=list)
    """Indices of the items that drew from `rng`: their results depend on seed and index."""
    early: bool = False
    """Whether the batch goes on, so that changes of captured values are not known yet."""

    def packed(self) -> PackedMeta:
        """Return it as it travels."""
        packed: PackedMeta = {"t": self.started, "dt": self.seconds, "cpu": self.cpu}
        if self.ends is not None:
            packed["index"] = self.ends
        for name, key in _OPTIONAL.items():
            if value := getattr(self, name):
                packed[key] = value
        return packed

    @classmethod
    def unpacked(cls, packed: Mapping[str, Any]) -> BatchMeta:
        """Return what `packed` says, which may be of another version."""
        get = packed.get
        return cls(
            started=get("t", 0.0),
            seconds=get("dt", 0.0),
            cpu=get("cpu", 0.0),
            delay=get("delay", 0.0),
            memory_peak=get("rss", 0),
            ends=get("index"),
            errors=get("errors") or {},
            outputs=get("outputs") or {},
            changed=get("changed") or [],
            drew=get("drew") or [],
            early=get("early", False),
        )
