"""How much memory this process may still take: what the machine and its control group have left."""

from __future__ import annotations

from pathlib import Path


def spare_memory(root: Path = Path("/")) -> int | None:
    """Return the bytes that may still be taken before somebody is killed; None where it is not known."""
    known = [
        left for left in (_of_machine(root), *_of_groups(root)) if left is not None and left >= 0
    ]
    return min(known, default=None)


def _of_machine(root: Path) -> int | None:
    try:
        for line in (root / "proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    return None


def _of_groups(root: Path) -> list[int | None]:
    """Return what each group has left that this process is in, the innermost first (version 2)."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
        inside = next(line.split(":", 2)[2] for line in lines if line.startswith("0:"))
    except (OSError, StopIteration, IndexError):
        return []
    base = root / "sys/fs/cgroup"
    group = base / inside.lstrip("/")
    return [_of_group(each) for each in (group, *group.parents) if each.is_relative_to(base)]


def _of_group(group: Path) -> int | None:
    try:
        limit = int((group / "memory.max").read_text())  # "max" where there is none
        used = int((group / "memory.current").read_text())
        statistics = (group / "memory.stat").read_text().splitlines()
    except (OSError, ValueError):
        return None
    # What was read from files is let go of before anybody is killed.
    files = (line.split()[1] for line in statistics if line.startswith("inactive_file "))
    return max(0, limit - used + int(next(files, "0")))
