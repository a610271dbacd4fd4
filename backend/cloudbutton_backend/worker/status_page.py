"""The page that a worker shares with its kernel: where it is, and what it must not start.

Every item sent to a worker has an *ordinal*, counting up over the worker's life. The worker notes
the ordinal before it starts the item; the kernel may revoke a range ``[low, high)`` of ordinals that
have not started. No lock is needed:

1. the worker stores CURRENT, then loads HIGH and LOW, then runs the item or skips it;
2. the kernel stores LOW, then HIGH, waits a millisecond, then loads CURRENT.

If the worker did not see the new range for an item, its store of CURRENT came before and is visible
to the kernel by then, which counts the item as started. Every later item is skipped. Ordinals only
grow, so a range that lies behind costs the worker one comparison with a small number.
"""

from __future__ import annotations

import mmap
from typing import Final

SIZE: Final = 4096
CURRENT: Final = 0
"""Ordinal of the item being run or last run."""
LOW: Final = 1
HIGH: Final = 2
BUSY: Final = 3
"""1 while the user's code runs."""
SINCE: Final = 4
"""`time.monotonic_ns()` when the current item started, for jobs with a time-out."""
PACKED: Final = 5
"""Items whose results are packed, over the worker's life: sent, or on their way."""
PACKED_BYTES: Final = 6
"""Their bytes."""
WAITING: Final = 7
"""1 while the worker waits for a message, having dealt with all that came before."""
NEVER: Final = (1 << 64) - 1
"""In CURRENT: nothing has run yet."""


def view(page: mmap.mmap) -> memoryview:
    """Return the page as 64-bit words."""
    return memoryview(page).cast("Q")


def reset(words: memoryview) -> None:
    """Put a fresh page into its initial state."""
    words[CURRENT] = NEVER
    words[LOW] = 0
    words[HIGH] = 0
    words[BUSY] = 0
    words[SINCE] = 0
    words[PACKED] = 0
    words[PACKED_BYTES] = 0
    words[WAITING] = 0


def revoke(words: memoryview, low: int, high: int) -> int:
    """Forbid the ordinals in ``[low, high)``, in addition to those that are forbidden and not passed.

    Returns
    -------
    int
        Where the forbidden range begins now.
    """
    current = words[CURRENT]
    # At the last forbidden ordinal the worker may be between 1. and its look at the range, which must
    # be there still: it was told to others as taken back.
    if current == NEVER or words[HIGH] > current:
        low = min(low, words[LOW]) if words[HIGH] else low
    words[LOW] = low
    words[HIGH] = high
    return low
