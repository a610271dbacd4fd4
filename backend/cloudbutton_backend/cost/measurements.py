"""Measurements of items, and their scaling to other hardware. Pure arithmetic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

VCPU: Final = 1769
"""MiB of memory with which AWS Lambda gives a function the power of one vCPU; with less it gives less,
in proportion (docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html, as of November 2026)."""
HEADROOM: Final = 1.3
"""Memory should be this many times the most that was measured: other items may need more."""
OWN_MIB: Final = 80
"""What a function's own process takes beside those that run items."""


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """Measurements of a job's items."""

    seconds: tuple[float, ...]
    """That items took, on the clock."""
    basis: str
    """In words: `4 of 200 items run here, 1.2 s`, `3 earlier runs`."""
    cpu_share: float = 1.0
    """Part of that time in which they used a CPU."""
    power: float = 1.0
    """Of a CPU that each of them had."""
    waiting: float = 0.0
    """Seconds that they waited for a CPU, for each in which they did not, as others used it, too."""
    here: bool = True
    """Whether that was on this machine."""
    memory_peak: int = 0
    """Bytes that a worker had at most; 0 if unknown."""
    load: float = 0.0
    """CPU seconds until a new worker could run its first item, its own start left out."""
    result_bytes: float = 0.0
    """Of one result, on average."""
    failures: tuple[str, ...] = ()
    """What items raised, a line each."""

    @property
    def mean(self) -> float:
        """The mean duration of an item, in seconds."""
        return sum(self.seconds) / len(self.seconds)

    def pace(self, power: float, speed: float = 1.0, waiting: float = 0.0) -> float:
        """Return what an item takes elsewhere for each second that it took here.

        Parameters
        ----------
        power
            Of a CPU that it has there.
        speed
            Of a whole CPU there, compared with one where it was measured.
        waiting
            Seconds that it waits there for each in which it does not.
        """
        work = self.cpu_share * self.power / (power * speed)
        return (work + (1 - self.cpu_share)) * (1 + waiting)


def power_of(memory: int) -> float:
    """Return the part of a vCPU that a process has in a function with this memory; see `VCPU`.

    More memory than comes with one vCPU makes a process no faster: it lets more of them run.
    """
    return min(1.0, memory / VCPU)


def lanes_of(memory: int) -> int:
    """Return how many processes run items in a function with this memory: one for each whole vCPU."""
    return max(1, memory // VCPU)


def memory_needed(peak_bytes: int, lanes: int = 1) -> int:
    """Return the MiB that this many items at a time may need, by the most that was measured."""
    return round(OWN_MIB + lanes * HEADROOM * peak_bytes / (1 << 20) + 0.5)


def fits(memory: int, peak_bytes: int) -> bool:
    """Whether items with this peak have room in a function with this memory."""
    return memory_needed(peak_bytes, lanes_of(memory)) <= memory


def sizes_for(peak_bytes: int, sizes: Sequence[int], usual: int, most: int = 3) -> list[int]:
    """Return memory sizes to choose among: the usual one and the next ones, none that is too small."""
    fitting = [size for size in sorted({*sizes, usual}) if fits(size, peak_bytes)]
    if usual in fitting:
        place = fitting.index(usual)
        begin = max(0, min(place - 1, len(fitting) - most))
        return fitting[begin : begin + most]
    return fitting[:most]
