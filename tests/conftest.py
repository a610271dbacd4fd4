"""What every test shares: a home of its own, and the signals and variables of a fresh shell."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True, scope="session")
def _home_of_this_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLOUDBUTTON_HOME", str(tmp_path_factory.mktemp("cloudbutton-home")))
        patch.delenv("VIRTUAL_ENV", raising=False)  # of another one IPython warns
        # A shell ignores it in what it runs in the background, and programs we start inherit that.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        yield
        signal.signal(signal.SIGINT, before)
