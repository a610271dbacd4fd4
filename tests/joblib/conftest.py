"""The two workers, gates and scripts of `tests/ext`; joblib finds no backend of its own by accident."""

from __future__ import annotations

from collections.abc import Iterator

import joblib
import pytest

from tests.ext.conftest import gate, python, session

__all__ = ["gate", "python", "session"]


@pytest.fixture
def on_ours() -> Iterator[None]:
    with joblib.parallel_config("cloudbutton"):
        yield
