"""The suite for what a backend says of itself: its limits, its settings, and the abilities that it has.

Inherit and say how to make a backend. Nothing is started; an ability that the backend lacks passes::

    class TestOurs(AbilitiesConformance):
        @classmethod
        def new_backend(cls) -> Backend:
            return OurBackend(workers=2)
"""

from __future__ import annotations

import json
import math
import pickle
from collections.abc import Iterator
from typing import Any, cast

import pytest

from cloudbutton_backend.backends.capabilities import (
    ChecksHealth,
    CostsBySettings,
    DeclaresCost,
    DeclaresSettings,
    DescribesPackages,
    HasPortableSettings,
    HasTitle,
    HealthLine,
    QuotesTerms,
    Recovers,
    TermsRequest,
)
from cloudbutton_backend.backends.protocol import Backend
from cloudbutton_backend.backends.registry import BackendMaker
from cloudbutton_backend.cost.measurements import Measurement
from cloudbutton_backend.settings.forms import schema_of, schema_of_signature

REQUEST = TermsRequest(
    measured=Measurement(seconds=(0.5, 1.5), basis="2 items run here"), items=10, workers=2
)


class AbilitiesConformance:
    """Promises on which planning, estimates, the panel and the doctor rely."""

    @classmethod
    def new_backend(cls) -> Backend:
        """Return a new backend."""
        raise NotImplementedError("say how to make the backend under test")

    @pytest.fixture
    def backend(self) -> Iterator[Backend]:
        """Return a backend that is not started."""
        backend = self.new_backend()
        yield backend
        backend.close()

    @pytest.fixture
    def maker(self, backend: Backend) -> BackendMaker:
        """Return what makes it."""
        maker: Any = type(backend)
        return cast(BackendMaker, maker)

    # -- limits

    def test_its_limits_can_be_asked_before_it_is_started(self, backend: Backend) -> None:
        limits = backend.limits
        assert limits == backend.limits
        assert limits.workers >= limits.slots >= 1
        assert limits.queue_depth >= 1 and limits.lost_attempts >= 1
        assert limits.batch_seconds > 0 and limits.retry_delay >= 0
        assert limits.longest_call is None or 0 < limits.longest_call < math.inf

    def test_what_its_limits_say_goes_together(self, backend: Backend) -> None:
        limits = backend.limits
        assert limits.shares_files or not limits.is_this_machine
        assert limits.rate is not None or not limits.emulated
        assert limits.can_limit_memory or limits.memory is None
        assert isinstance(backend, Recovers) or not limits.can_outlive

    # -- of the class

    def test_it_has_a_name_and_a_title(self, backend: Backend, maker: BackendMaker) -> None:
        assert backend.name
        assert not isinstance(maker, HasTitle) or maker.title

    def test_it_can_be_made_with_its_settings_as_they_are(self, maker: BackendMaker) -> None:
        if isinstance(maker, DeclaresSettings):
            settings = maker.settings_class()
            assert json.loads(json.dumps(schema_of(maker.settings_class)))["properties"]
            backend = maker(settings)
        else:
            assert schema_of_signature(maker)["type"] == "object"
            backend = maker()
        backend.close()

    def test_what_it_says_of_its_cost_agrees(self, backend: Backend, maker: BackendMaker) -> None:
        if isinstance(maker, CostsBySettings):
            assert isinstance(maker.costs_with({}), bool)
        if isinstance(backend, DeclaresCost):
            assert backend.costs == (
                backend.limits.rate is not None and not backend.limits.emulated
            )

    # -- of an instance

    def test_its_health_is_told_in_lines(self, backend: Backend) -> None:
        if not isinstance(backend, ChecksHealth):
            return
        lines = [HealthLine(*line) for line in backend.health()]
        assert lines and all(line.name for line in lines)
        assert {tuple(map(type, line)) for line in lines} == {(str, bool, str)}

    def test_it_tells_how_it_would_run_a_job_as_asked_first(self, backend: Backend) -> None:
        if not isinstance(backend, QuotesTerms):
            return
        first, *others = backend.terms(REQUEST)
        limits = backend.limits
        assert first.workers <= 2
        for terms in (first, *others):
            assert (terms.backend, terms.emulated) == (backend.name, limits.emulated)
            assert (terms.rate is None) == (limits.rate is None)

    def test_it_tells_which_packages_code_would_get(self, backend: Backend) -> None:
        if isinstance(backend, DescribesPackages):
            assert isinstance(backend.describe_packages(["json"]), str)

    def test_its_settings_reach_another_process(self, backend: Backend) -> None:
        if not isinstance(backend, HasPortableSettings):
            return
        lasting = backend.lasting_settings({})
        assert pickle.loads(pickle.dumps(lasting)) == lasting
        assert backend.differs_from(lasting) == ""

    def test_of_a_job_that_it_never_ran_it_recovers_nothing(self, backend: Backend) -> None:
        if isinstance(backend, Recovers):
            assert list(backend.recover("nosuchjob")) == []

    # -- closing

    def test_one_that_was_never_started_can_be_closed(self, backend: Backend) -> None:
        backend.close()
        backend.close()
