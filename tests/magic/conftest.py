"""A real IPython shell in this process, with the extension loaded and real local workers."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from cloudbutton_backend.session import session
from cloudbutton_magic import load_ipython_extension, unload_ipython_extension


@dataclass(frozen=True)
class Ran:
    """What came of a cell."""

    error: BaseException | None
    value: Any
    out: str
    err: str


Run = Callable[..., Ran]


@pytest.fixture(scope="package")
def _the_shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InteractiveShell]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IPYTHONDIR", str(tmp_path_factory.mktemp("ipython")))
        config = Config()
        config.HistoryManager.enabled = False
        config.InteractiveShell.colors = "nocolor"
        config.TerminalInteractiveShell.simple_prompt = True
        main = sys.modules["__main__"]  # the shell puts its own there
        InteractiveShell.clear_instance()  # one that `display` has made is set up otherwise
        shell = InteractiveShell.instance(config=config)
        load_ipython_extension(shell)
        yield shell
        unload_ipython_extension(shell)
        session.current().close()
        sys.modules["__main__"] = main
        InteractiveShell.clear_instance()


@pytest.fixture
def shell(_the_shell: InteractiveShell) -> InteractiveShell:
    """A shell with an empty namespace."""
    _the_shell.reset(new_session=False)
    return _the_shell


@pytest.fixture
def run(shell: InteractiveShell, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a cell as a front end would."""

    def run_cell(text: str) -> Ran:
        capsys.readouterr()
        result = shell.run_cell(text, store_history=True)
        captured = capsys.readouterr()
        error = result.error_in_exec or result.error_before_exec
        return Ran(error, result.result, captured.out, captured.err)

    return run_cell
