"""Settings: what is known, where it is written down, and which value holds."""

from cloudbutton_backend.settings.known import Settings
from cloudbutton_backend.settings.resolve import (
    Resolved,
    Row,
    describe,
    forget_used,
    resolve,
    use,
)
from cloudbutton_backend.settings.sources import Surroundings

__all__ = [
    "Resolved",
    "Row",
    "Settings",
    "Surroundings",
    "describe",
    "forget_used",
    "resolve",
    "use",
]
