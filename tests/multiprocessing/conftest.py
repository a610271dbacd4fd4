"""The two workers, gates and scripts of `tests/ext`, and a pool on them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cloudbutton_ext.multiprocessing import Pool
from tests.ext.conftest import gate, python, session

__all__ = ["gate", "python", "session"]


@pytest.fixture
def pool() -> Iterator[Pool]:
    with Pool(2) as pool:
        yield pool
    pool.join()
