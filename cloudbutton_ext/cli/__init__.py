"""The command `cloudbutton`, and its exit codes."""

from typing import Final

DONE: Final = 0
FAILED: Final = 1
"""It could not be done."""
MISUSED: Final = 2
"""It was not understood."""
INTERRUPTED: Final = 130
