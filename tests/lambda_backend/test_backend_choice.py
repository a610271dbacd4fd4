"""How the Lambda backend is chosen in a notebook, and what a form and the doctor show of it."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from typing import Any

import pytest

from cloudbutton_backend import settings
from cloudbutton_backend.backends import registry
from cloudbutton_backend.backends.aws_lambda.backend import LambdaBackend
from cloudbutton_backend.backends.aws_lambda.connection import DeployedFunctions
from cloudbutton_backend.errors import UnknownName
from cloudbutton_backend.session import session
from cloudbutton_backend.settings.forms import schema_of
from cloudbutton_magic.commands.line_magic import CommandContext, run_command
from tests.lambda_backend.conftest import new_backend, shared_emulator


@pytest.fixture
def chosen() -> Iterator[Any]:
    """Return a function that runs `%cloud use …` and returns the backend's settings."""

    def use(line: str) -> Any:
        run_command(f"use {line}", CommandContext(namespace={}, screen=None))  # type: ignore[arg-type]
        backend = session.current().driver("lambda").backend
        assert isinstance(backend, LambdaBackend)
        return backend.settings

    yield use
    settings.use(backend=None, memory=None)
    session.current().close()


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("lambda --emulate --memory 3008", {"emulate": True, "memory": 3008}),
        ("lambda --memory 3008 --emulate", {"emulate": True, "memory": 3008}),
        ("lambda emulate=true workers=3", {"emulate": True, "workers": 3}),
        ("lambda --emulate=no --region eu-west-1", {"emulate": False, "region": "eu-west-1"}),
        ("lambda --emulate --prefix 2026", {"prefix": "2026"}),
        ("lambda --emulate --variables A,B", {"task_variables": ("A", "B")}),
    ],
)
def test_settings_are_read_as_the_backend_has_them(
    chosen: Any, line: str, wanted: dict[str, Any]
) -> None:
    found = chosen(line)
    assert {name: getattr(found, name) for name in wanted} == wanted


def test_a_job_setting_that_the_backend_does_not_have_is_one_of_jobs(chosen: Any) -> None:
    chosen("lambda --emulate --retries 2")
    assert settings.resolve().retries == 2
    settings.use(retries=None)


def test_an_unknown_setting_names_the_nearest(chosen: Any) -> None:
    with pytest.raises(UnknownName, match="Did you mean `memory`"):
        chosen("lambda --memry 3008")


def test_the_form_has_every_setting_and_no_other() -> None:
    schema = schema_of(LambdaBackend.settings_class)
    assert set(schema["properties"]) == set(registry.settings_of("lambda"))
    for name, default in registry.settings_of("lambda").items():
        assert schema["properties"][name].get("default", default) == default
        assert schema["properties"][name]["title"]


def test_the_health_has_a_line_for_all_that_jobs_need() -> None:
    backend = new_backend(shared_emulator())
    lines = {name: ok for name, ok, _ in backend.health()}
    assert lines == dict.fromkeys(
        ["credentials", "runtime", "function", "bucket", "concurrency"], True
    )
    backend.close()


def test_a_cell_with_the_button_runs_there_with_no_package_that_it_does_not_use(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from IPython.core.interactiveshell import InteractiveShell

    wanted: list[frozenset[str]] = []
    with_packages = DeployedFunctions.with_packages

    async def noted(self: DeployedFunctions, target: Any, imports: frozenset[str]) -> Any:
        wanted.append(imports)
        return await with_packages(self, target, imports)

    monkeypatch.setattr(DeployedFunctions, "with_packages", noted)
    current = session.current()
    current.use_backend(new_backend(shared_emulator()))
    is_first = not InteractiveShell.initialized()
    shell = InteractiveShell.instance()
    try:
        shell.run_cell("%load_ext cloudbutton_ext").raise_error()
        shell.run_cell("import math\nscale = 3").raise_error()
        cell = "%%cloud --force --backend lambda --quiet\nout = []\nfor i in range(20):\n"
        shell.run_cell(cell + "    out.append(scale * math.isqrt(i))\nlast = i").raise_error()
        assert shell.user_ns["out"] == [3 * math.isqrt(i) for i in range(20)]
        assert shell.user_ns["last"] == 19
        (job,) = current.jobs()
        assert job.record.ran_on == ("lambda", True) and wanted == [frozenset()]
    finally:
        current.close()
        if is_first:
            InteractiveShell.clear_instance()


def test_a_kernels_own_warnings_and_what_a_task_displays_need_no_ipython_there(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from IPython.core.completer import ProvisionalCompleterWarning
    from IPython.core.interactiveshell import InteractiveShell

    current = session.current()
    current.use_backend(new_backend(shared_emulator()))
    settings.use(threshold_bytes=1 << 24)  # all of it in the call, where it used to be searched
    is_first = not InteractiveShell.initialized()
    shell = InteractiveShell.instance()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", ProvisionalCompleterWarning)  # as every kernel has it
            shell.run_cell("%load_ext cloudbutton_ext\nout = []").raise_error()
            cell = "for i in range(20):\n    out.append(i * 2)"
            shell.run_cell(f"%%cloud --force --backend lambda --quiet\n{cell}").raise_error()
        (job,) = current.jobs()
        assert shell.user_ns["out"] == [i * 2 for i in range(20)]
        assert job.errors() == {} and job.state.name == "DONE"
        shell.run_cell("import fractions\nhalf = fractions.Fraction(1, 2)").raise_error()
        capsys.readouterr()
        cell = "display(k * half)\nk"
        shell.run_cell(f"%%cloud map k in range(2) --backend lambda -> q\n{cell}").raise_error()
        assert shell.user_ns["q"] == [0, 1]
        assert "Fraction(1, 2)" in capsys.readouterr().out
    finally:
        settings.use(threshold_bytes=None)
        current.close()
        if is_first:  # displaying made the process's one; other tests make theirs as they need it
            InteractiveShell.clear_instance()
