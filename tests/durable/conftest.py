"""Two workers shared by the tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cloudbutton_backend import session as session_module
from cloudbutton_backend import settings
from cloudbutton_backend.session import Session

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.timeout(60))


@pytest.fixture(scope="package", autouse=True)
def session() -> Iterator[Session]:
    """This process's session while these tests run, so that `cloud.map` and the rest use it."""
    with pytest.MonkeyPatch.context() as patch:
        session = Session()
        patch.setattr(session_module, "_current", session)
        session.use("local", workers=2)
        yield session
        session.close()
        settings.forget_used()
