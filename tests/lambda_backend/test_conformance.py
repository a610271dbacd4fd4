"""The Lambda backend keeps the promises of all backends, on the emulator."""

from __future__ import annotations

import numpy as np

from cloudbutton_backend.backends.protocol import Backend
from cloudbutton_backend.testing.abilities_suite import AbilitiesConformance
from cloudbutton_backend.testing.conformance import SharedFilesConformance, TaskPlace
from cloudbutton_backend.testing.protocol_suite import ProtocolConformance
from tests.lambda_backend.conftest import new_backend, shared_emulator


class TestLambdaJobs(SharedFilesConformance):
    @classmethod
    def new_backend(cls) -> Backend:
        return new_backend(shared_emulator())


class TestLambdaProtocol(ProtocolConformance):
    @classmethod
    def new_backend(cls) -> Backend:
        return new_backend(shared_emulator())


class TestLambdaAbilities(AbilitiesConformance):
    @classmethod
    def new_backend(cls) -> Backend:
        return new_backend(shared_emulator())


def test_items_may_need_packages_that_the_function_does_not() -> None:
    place = TaskPlace(new_backend(shared_emulator()))
    try:
        arrays = [np.arange(3), np.ones(2)]
        assert place.map(lambda array: float(array.sum()), arrays) == [3.0, 2.0]
        assert place.map(lambda array: float(array.sum()), iter(arrays)) == [3.0, 2.0]
    finally:
        place.session.close()
