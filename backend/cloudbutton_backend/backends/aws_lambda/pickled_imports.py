"""Which packages a pickle may need, told from its bytes: quickly, and rather too many than too few."""

from __future__ import annotations

import functools
import re
import sys
from typing import Any, Final

from cloudbutton_backend.capture import third_party

#: Short texts: names of modules are among them, those of classes and those that code imports.
_TEXT: Final = re.compile(rb"\x8c[\x01-\x7f]([A-Za-z_][A-Za-z0-9_]*)")
_MOST: Final = 256 << 10
"""Bytes that are looked at: what comes after is more of the same."""


def imports_in(stream: Any) -> frozenset[str]:
    """Return the import names of installed packages that a pickle mentions."""
    found = {name.decode("ascii") for name in _TEXT.findall(memoryview(stream)[:_MOST])}
    return frozenset(name for name in found if name in sys.modules and _is_installed(name))


@functools.lru_cache(maxsize=4096)
def _is_installed(name: str) -> bool:
    """Whether an imported module belongs to a package that functions do not have anyway."""
    return bool(third_party([name]))
