"""The two workers, gates and scripts of `tests/ext`."""

from __future__ import annotations

from tests.ext.conftest import gate, python, session

__all__ = ["gate", "python", "session"]
