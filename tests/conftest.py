"""What every test shares: a home of its own, so that no test touches the user's journal."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True, scope="session")
def _home_of_this_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLOUDBUTTON_HOME", str(tmp_path_factory.mktemp("cloudbutton-home")))
        yield
