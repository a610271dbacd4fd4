"""One emulated account for most tests, and accounts with limits and faults of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest

from cloudbutton_backend.backends.aws_lambda.emulator import Emulator, LambdaLimits

from .account import Account


@pytest.fixture(scope="session")
def account() -> Iterator[Account]:
    with pytest.MonkeyPatch.context() as patch:
        # What the user has around must not show in a function.
        patch.setenv("TZ", "Asia/Kolkata")
        patch.setenv("LC_ALL", "C")
        patch.setenv("PYTHONIOENCODING", "latin-1")
        patch.setenv("SECRET_OF_MINE", "hush")
        emulator = Emulator()
        emulator.start()
    with closing(emulator):
        yield Account(emulator)


@pytest.fixture
def new_account() -> Iterator[Callable[..., Account]]:
    """Makes accounts with limits and faults of their own."""
    made: list[Emulator] = []

    def make(**options: Any) -> Account:
        faults = options.pop("faults", None)
        emulator = Emulator(limits=LambdaLimits(**options), faults=faults)
        emulator.start()
        made.append(emulator)
        return Account(emulator)

    yield make
    for emulator in made:
        emulator.close()
