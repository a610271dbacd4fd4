"""A session with two local workers and an emulated Lambda, and graphs computed on either."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import cloudbutton_ext as cloud
from cloudbutton_backend import settings
from cloudbutton_backend.session import session as session_module
from cloudbutton_backend.session.session import Session
from cloudbutton_ext.integrations.dask_graphs.scheduler import DaskScheduler
from tests.ext.conftest import gate, python
from tests.lambda_backend.conftest import new_backend, shared_emulator

__all__ = ["gate", "python"]


HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(HERE):  # unpacking what data frames need takes half a minute
            item.add_marker(pytest.mark.timeout(300))


@pytest.fixture(scope="package", autouse=True)
def session() -> Iterator[Session]:
    """This process's session while these tests run."""
    with pytest.MonkeyPatch.context() as patch:
        session = Session()
        patch.setattr(session_module, "_current", session)
        session.use("local", workers=2)
        yield session
        session.close()
        settings.forget_used()


@pytest.fixture(scope="package")
def emulated(session: Session) -> None:
    """Make ``"lambda"`` the emulated one."""
    session.use_backend(new_backend(shared_emulator()))


@pytest.fixture(params=["local", "lambda"])
def ours(request: pytest.FixtureRequest) -> DaskScheduler:
    """A scheduler on this machine's workers, and one on Lambda's."""
    if request.param == "lambda":
        request.getfixturevalue("emulated")
    return cloud.dask_scheduler(request.param)


@pytest.fixture
def local() -> DaskScheduler:
    return cloud.dask_scheduler("local")
