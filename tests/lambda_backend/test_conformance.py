"""The Lambda backend keeps the promises of all backends, on the emulator."""

from __future__ import annotations

from cloudbutton_backend.backends.protocol import Backend
from cloudbutton_backend.testing.conformance import SharedFilesConformance
from cloudbutton_backend.testing.protocol import ProtocolConformance
from tests.lambda_backend.conftest import new_backend, shared_emulator


class TestLambdaJobs(SharedFilesConformance):
    @classmethod
    def new_backend(cls) -> Backend:
        return new_backend(shared_emulator())


class TestLambdaProtocol(ProtocolConformance):
    @classmethod
    def new_backend(cls) -> Backend:
        return new_backend(shared_emulator())
