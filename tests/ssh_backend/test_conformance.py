"""The SSH backend keeps the promises of all backends, with one machine and with two."""

from __future__ import annotations

from cloudbutton_backend.backends.protocol import Backend
from cloudbutton_backend.backends.ssh.backend import SshBackend
from cloudbutton_backend.backends.ssh.settings import SshSettings
from cloudbutton_backend.testing.abilities_suite import AbilitiesConformance
from cloudbutton_backend.testing.conformance import SharedFilesConformance
from cloudbutton_backend.testing.protocol_suite import RevokingConformance
from tests.ssh_backend.conftest import shared_server


class OnOneMachine:
    @classmethod
    def new_backend(cls) -> Backend:
        return SshBackend(SshSettings(hosts="big1", workers=2, config=shared_server().config))


class TestJobs(OnOneMachine, SharedFilesConformance):
    pass


class TestProtocol(OnOneMachine, RevokingConformance):
    pass


class TestAbilities(OnOneMachine, AbilitiesConformance):
    pass


class TestJobsOnTwoMachines(SharedFilesConformance):
    @classmethod
    def new_backend(cls) -> Backend:
        hosts = ["big1", "big2"]
        return SshBackend(SshSettings(hosts=hosts, workers=1, config=shared_server().config))
