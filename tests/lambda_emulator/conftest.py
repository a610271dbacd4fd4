"""One emulated account for most tests, and accounts with limits and faults of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from cloudbutton_backend.testing.lambda_emulator import Emulator, Limits

from .account import Account


@pytest.fixture(scope="session")
def account() -> Iterator[Account]:
    with Emulator() as emulator:
        yield Account(emulator)


@pytest.fixture
def new_account() -> Iterator[Callable[..., Account]]:
    """Makes accounts with limits and faults of their own."""
    made: list[Emulator] = []

    def make(**options: Any) -> Account:
        faults = options.pop("faults", None)
        emulator = Emulator(limits=Limits(**options), faults=faults)
        emulator.start()
        made.append(emulator)
        return Account(emulator)

    yield make
    for emulator in made:
        emulator.close()
