"""Whether the workers have what the code needs, in the notebook's versions: asked before the run."""

from __future__ import annotations

import asyncio
import platform
from collections.abc import Iterable, Mapping
from importlib import metadata
from typing import Any, Final

import cloudpickle

from cloudbutton_backend.backends.dask.cluster import ANSWER_WITHIN, DaskCluster
from cloudbutton_backend.backends.dask.shipped_code import installed_versions
from cloudbutton_backend.capture.distributions import distributions, third_party
from cloudbutton_backend.errors import BackendError, PackagesDoNotFit

PYTHON: Final = "Python"
_SHOWN: Final = 8
"""Mismatches that a message lists."""
_BASIC: Final = ("cloudpickle", "dask", "distributed")
"""What schedulers and workers say of themselves."""
Versions = Mapping[str, str | None]


def here(imports: Iterable[str]) -> dict[str, str]:
    """Return the versions in this process of Python, cloudpickle and what code imports."""
    found = {each.name: each.version for each in distributions(third_party(imports))}
    # Dask's own parts talk to each other in ways that change with its releases.
    own = {name: metadata.version(name) for name in ("dask", "distributed")}
    basic = {PYTHON: platform.python_version(), "cloudpickle": cloudpickle.__version__}
    return {**basic, **own, **found}


def mismatches(ours: Versions, theirs: Mapping[str, Versions]) -> list[str]:
    """Return a line for each version that differs, those who agree with each other together.

    Of Python, the patch release may differ: what code objects look like does not change with it.
    """
    lines = []
    for name, version in ours.items():
        by_version: dict[str | None, list[str]] = {}
        for who, versions in theirs.items():
            other = versions.get(name)
            if _differs(name, version, other):
                by_version.setdefault(other, []).append(who)
        for other, whose in by_version.items():
            where = whose[0] if len(whose) == 1 else f"{whose[0]} and {len(whose) - 1} more"
            lines.append(f"{name}: {version} here, {other or 'not installed'} on {where}")
    return lines


def _differs(name: str, ours: str | None, theirs: str | None) -> bool:
    if name == PYTHON and ours and theirs:
        return ours.rpartition(".")[0] != theirs.rpartition(".")[0]
    return ours != theirs


class VersionCheck:
    """Compares the notebook with the workers of one cluster, each worker once for each package."""

    def __init__(self, cluster: DaskCluster) -> None:
        self._cluster = cluster
        self._known: dict[str, dict[str, str | None]] = {}

    def require(self, imports: Iterable[str]) -> None:
        """Refuse to run code on workers that would not run it as the notebook does.

        Raises
        ------
        PackagesDoNotFit
            It lists both sides.
        """
        if self._cluster.is_local:
            return
        lines = self.find_mismatches(imports)
        if lines:
            raise PackagesDoNotFit(explain(lines))

    def find_mismatches(self, imports: Iterable[str]) -> list[str]:
        """Return a line for each version that differs between here and the workers."""
        if not self._known:
            # Before any code of ours runs there: another Python could not even load it.
            basic = self._basic_versions()
            lines = mismatches(here(()), basic)
            if lines:
                return lines
        ours = here(imports)
        self._ask(ours)
        return mismatches(ours, self._known)

    def _basic_versions(self) -> dict[str, dict[str, str | None]]:
        # ends: Dask drops a worker that it has not heard of for some minutes
        found = self._cluster.client.get_versions(check=False)
        asked: dict[str, Any] = {"the scheduler": found["scheduler"], **found["workers"]}
        return {
            who: {
                PYTHON: str(said["host"]["python"]).split(".final")[0],
                **{name: said["packages"].get(name) for name in _BASIC},
            }
            for who, said in asked.items()
            if said
        }

    def _ask(self, ours: Versions) -> None:
        """Learn of each worker what is not known of it yet."""
        names = sorted(set(ours) - {PYTHON})
        unknown = [
            worker.address
            for worker in self._cluster.workers()
            if not set(ours) <= set(self._known.get(worker.address, ()))
        ]
        if not unknown:
            return
        try:
            answers = self._cluster.client.run(
                installed_versions,
                names,
                workers=unknown,
                on_error="ignore",
                callback_timeout=ANSWER_WITHIN,
            )
        except (TimeoutError, asyncio.TimeoutError):
            raise BackendError(
                f"The Dask workers did not say within {ANSWER_WITHIN:g} s which packages they have."
                " Is one of them suspended? Nothing was run."
            ) from None
        for address, versions in answers.items():
            self._known.setdefault(address, {}).update(versions)


def explain(lines: list[str]) -> str:
    """Return what is said where versions differ."""
    shown = "\n".join(f"  {line}" for line in lines[:_SHOWN])
    more = f"\n  and {len(lines) - _SHOWN} more" if len(lines) > _SHOWN else ""
    return (
        f"This notebook and the Dask workers do not have the same versions:\n{shown}{more}\n"
        f"Nothing was run. Install the same on both sides. For packages, Dask can do it on the workers: "
        f"`client.register_plugin(distributed.PipInstall(packages=[…]))`."
    )
