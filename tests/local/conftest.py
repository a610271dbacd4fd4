"""A session with two workers, shared by the tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cloudbutton_backend.session.session import Session


@pytest.fixture(scope="package")
def session() -> Iterator[Session]:
    session = Session()
    session._drivers.use("local", workers=2)
    assert session.warm_up("local", timeout=60.0)
    yield session
    session.close()
