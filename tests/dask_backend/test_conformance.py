"""The Dask backend keeps the promises of all backends."""

from __future__ import annotations

from cloudbutton_backend.backends.dask.backend import DaskBackend
from cloudbutton_backend.backends.protocol import Backend
from cloudbutton_backend.testing.conformance import SharedFilesConformance
from cloudbutton_backend.testing.protocol import ProtocolConformance


class TestJobsOnThisMachine(SharedFilesConformance):
    @classmethod
    def new_backend(cls) -> Backend:
        return DaskBackend(workers=2)


class TestProtocolOnThisMachine(ProtocolConformance):
    @classmethod
    def new_backend(cls) -> Backend:
        return DaskBackend(workers=2)
