"""Optional abilities of a backend beyond the protocol: one `Protocol` for each.

All of them are optional and structural. Callers check ``isinstance(backend, ChecksHealth)``;
nothing is looked up by name. The first five are asked of whatever makes the backend, usually its class,
because the panel lists backends without making one. See docs/backends.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

from cloudbutton_backend.backends.protocol import Results
from cloudbutton_backend.cost.measurements import Measurement
from cloudbutton_backend.cost.overhead import NO_OVERHEAD, CallOverhead
from cloudbutton_backend.cost.run_model import CostModel

# -- of the class


@runtime_checkable
class HasTitle(Protocol):
    """Has a name for people; the panel otherwise capitalises the registered one."""

    title: str


@runtime_checkable
class DeclaresSettings(Protocol):
    """Has its settings in a dataclass, an instance of which is the first argument.

    Otherwise the parameters that may be given by position are the settings, as the docstring tells of them.
    """

    settings_class: type[Any]


@runtime_checkable
class TakesBareWords(Protocol):
    """Has a setting of which `%cloud use` takes the values without its name: ``%cloud use ssh big1 big2``."""

    bare_words: str
    """The setting's name. It gets the words with commas in between."""


@runtime_checkable
class DeclaresCost(Protocol):
    """Tells whether work on it costs money, without making requests.

    On an instance the answer is for that instance. A pressed cell is confirmed first where this is true.
    Without it, work costs money if `Limits.rate` is set.
    """

    costs: bool


@runtime_checkable
class CostsBySettings(Protocol):
    """Tells whether work would cost money with given settings, before there is an instance."""

    def costs_with(self, settings: Mapping[str, Any]) -> bool:
        """Return whether work costs money with these settings. A static or class method."""


# -- of an instance


class HealthLine(NamedTuple):
    """One thing that jobs need, and whether it is well."""

    name: str
    is_well: bool
    detail: str
    """In words, for the user."""


@runtime_checkable
class ChecksHealth(Protocol):
    """Can check whether jobs would run, for the panel and for `cloudbutton doctor`."""

    def health(self) -> Iterable[HealthLine]:
        """Yield what was found. Called from any thread, on a backend that may not have been started.

        Looking must neither start workers nor cost money.
        """


@dataclass(frozen=True, kw_only=True)
class TermsRequest:
    """A job to be estimated."""

    measured: Measurement
    """What is known of its items."""
    items: int
    workers: int | None = None
    """The most of them, if the user chose."""
    memory: int | None = None
    """MiB of each worker, if the user chose."""
    overhead: CallOverhead = NO_OVERHEAD
    """What calls took beside their items in earlier jobs on this backend, as far as known."""


@runtime_checkable
class QuotesTerms(Protocol):
    """Knows how it would run a job: speed, starts and prices, for estimates.

    Without it an estimate assumes that an item takes about as long as here.
    """

    def terms(self, request: TermsRequest) -> Sequence[CostModel]:
        """Return how it would run a job: first as asked, then the alternatives. Makes no requests."""


@runtime_checkable
class SeesWork(Protocol):
    """Can tell whether anything of what it was given is under way, so that what got lost is noticed."""

    def is_under_way(self) -> bool:
        """Return whether a worker is at work, or work or results are between here and there.

        Called on the driver's thread, when `poll` has had nothing for a while.
        """


@runtime_checkable
class DescribesPackages(Protocol):
    """Brings the packages that code needs, and can say which those are."""

    def describe_packages(self, imports: Sequence[str]) -> str:
        """Return in words what code that imports these would get. Makes no requests."""


@runtime_checkable
class HasPortableSettings(Protocol):
    """Has settings that mean nothing to another process, which may continue a job of this one.

    Without it, what `use` was given is written down as it is.
    """

    def lasting_settings(self, chosen: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the settings with which another process reaches what this backend reaches.

        Parameters
        ----------
        chosen
            What `use` was given; live objects among it must go.
        """

    def differs_from(self, lasting: Mapping[str, Any]) -> str:
        """Return a warning for the user of a detached job that was started with other settings, or "".

        Called where such a job is continued, and what its calls have brought cannot be had here.
        """


@runtime_checkable
class Recovers(Protocol):
    """Keeps what calls of a detached job bring when the process that made them has ended.

    Goes with `Limits.can_outlive`.
    """

    def recover(self, job_id: str) -> Iterable[Results]:
        """Yield what calls of a job have brought so far, in the order in which it came, checked and with
        the payload in memory. Called from the user's thread, before the job is opened again.

        Raises
        ------
        CloudError
            It cannot be had.
        """


@runtime_checkable
class MakesDaskFutures(Protocol):
    """Can give a job's results as futures of Dask's, for `job.futures()`."""

    def futures_of(
        self, job_id: str, outcomes: Iterable[tuple[int, Any, BaseException | None]]
    ) -> list[Any]:
        """Return a future for each item that has ended, in their order.

        Parameters
        ----------
        outcomes
            (index, value, error) of each item.
        """
