"""More results than the kernel has memory."""

from __future__ import annotations

from pathlib import Path

from benchmarks.faults.kernels import kernel
from benchmarks.faults.scenarios.disks import tally_of
from benchmarks.faults.tally import Tally

MB = 1_000_000
LIMIT = 1 << 30


def large_results(seed: int, folder: Path, n_items: int = 10_000, limit: int = LIMIT) -> Tally:
    """Stream 10,000 results of 1 MB each through a kernel with 1 GiB of address space."""
    del seed  # nothing is drawn: the same each time
    how = {"n_items": n_items, "nbytes": MB, "address_space": limit}
    with kernel("stream_large", folder / "home", **how) as child:
        said = child.hear(600.0)
    peak = {"MB of memory in the kernel at most": said["peak"] / MB}
    return tally_of(said, n_items) + Tally(struck=1, most=peak)
