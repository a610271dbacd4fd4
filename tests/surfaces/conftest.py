"""A shell, a kernel and a Dask client, each made when the first check asks for it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.magic.kernels import Kernel, started


@pytest.fixture(scope="package")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IPYTHONDIR", str(tmp_path_factory.mktemp("ipython")))
        config = Config()
        config.HistoryManager.enabled = False
        config.InteractiveShell.colors = "nocolor"
        main = sys.modules["__main__"]  # the shell puts its own there
        InteractiveShell.clear_instance()
        yield InteractiveShell.instance(config=config)
        sys.modules["__main__"] = main
        InteractiveShell.clear_instance()


@pytest.fixture(scope="package")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    home = tmp_path_factory.mktemp("kernel")
    with started(home, {**os.environ, "IPYTHONDIR": str(home)}) as kernel:
        yield kernel


@pytest.fixture(scope="package")
def client() -> Iterator[Any]:
    """A client of a cluster in this process: one worker with one thread."""
    import distributed

    with (
        distributed.LocalCluster(
            n_workers=1,
            threads_per_worker=1,
            processes=False,
            dashboard_address="127.0.0.1:0",
            scheduler_kwargs={"dashboard": False},
            resources={"gpu": 1},
        ) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        yield client
