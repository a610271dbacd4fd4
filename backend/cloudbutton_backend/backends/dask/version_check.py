"""Whether the workers have what the code needs, in the notebook's versions: asked before the run."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from importlib import metadata
from typing import Any, Final

from cloudbutton_backend.backends.dask.cluster import ANSWER_WITHIN, DaskCluster
from cloudbutton_backend.backends.dask.shipped_code import installed_versions
from cloudbutton_backend.backends.package_versions import (
    PYTHON,
    Versions,
    explain_mismatches,
    mismatches,
    notebook_versions,
)
from cloudbutton_backend.errors import BackendError, PackagesDoNotFit

_BASIC: Final = ("cloudpickle", "dask", "distributed")
"""What schedulers and workers say of themselves."""
_ADVICE: Final = (
    "Install the same on both sides. For packages, Dask can do it on the workers: "
    "`client.register_plugin(distributed.PipInstall(packages=[…]))`."
)


def _here(imports: Iterable[str]) -> dict[str, str]:
    """Return the versions in this process of Python, of Dask and of what code imports."""
    # Dask's own parts talk to each other in ways that change with its releases.
    return notebook_versions(imports) | {name: metadata.version(name) for name in _BASIC}


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
            raise PackagesDoNotFit(explain_mismatches(lines, "the Dask workers", _ADVICE))

    def find_mismatches(self, imports: Iterable[str]) -> list[str]:
        """Return a line for each version that differs between here and the workers."""
        if not self._known:
            # Before any of our code runs there: another Python could not even load it.
            basic = self._basic_versions()
            lines = mismatches(_here(()), basic)
            if lines:
                return lines
        ours = _here(imports)
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
        """Ask each worker for the versions that are not known yet."""
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
