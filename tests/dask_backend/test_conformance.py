"""The Dask backend keeps the promises of all backends, here and on a cluster that others have started."""

from __future__ import annotations

from cloudbutton_backend.backends.dask.backend import DaskBackend
from cloudbutton_backend.backends.dask.settings import DaskSettings
from cloudbutton_backend.backends.protocol import Backend
from cloudbutton_backend.testing.abilities_suite import AbilitiesConformance
from cloudbutton_backend.testing.conformance import SharedFilesConformance
from cloudbutton_backend.testing.protocol_suite import ProtocolConformance
from tests.dask_backend.conftest import shared_cluster


class TestJobsOnThisMachine(SharedFilesConformance):
    @classmethod
    def new_backend(cls) -> Backend:
        return DaskBackend(DaskSettings(workers=2))


class TestJobsOnCluster(SharedFilesConformance):
    @classmethod
    def new_backend(cls) -> Backend:
        return DaskBackend(DaskSettings(address=shared_cluster().address, workers=4))


class TestProtocolOnCluster(ProtocolConformance):
    @classmethod
    def new_backend(cls) -> Backend:
        return DaskBackend(DaskSettings(address=shared_cluster().address, workers=4))


class TestAbilitiesOnThisMachine(AbilitiesConformance):
    @classmethod
    def new_backend(cls) -> Backend:
        return DaskBackend(DaskSettings(workers=2))


class TestAbilitiesOnCluster(AbilitiesConformance):
    @classmethod
    def new_backend(cls) -> Backend:
        return DaskBackend(
            DaskSettings(address=shared_cluster().address, workers=4, worker_hour=0.1)
        )
