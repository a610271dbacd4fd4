"""The local backend keeps the promises of all backends."""

from __future__ import annotations

from cloudbutton_backend.backends.local import LocalBackend
from cloudbutton_backend.backends.protocol import Backend
from cloudbutton_backend.testing.abilities_suite import AbilitiesConformance
from cloudbutton_backend.testing.conformance import SharedFilesConformance
from cloudbutton_backend.testing.protocol_suite import RevokingConformance


class TestLocalJobs(SharedFilesConformance):
    @classmethod
    def new_backend(cls) -> Backend:
        return LocalBackend(workers=2)


class TestLocalProtocol(RevokingConformance):
    @classmethod
    def new_backend(cls) -> Backend:
        return LocalBackend(workers=2)


class TestLocalAbilities(AbilitiesConformance):
    @classmethod
    def new_backend(cls) -> Backend:
        return LocalBackend(workers=2)
