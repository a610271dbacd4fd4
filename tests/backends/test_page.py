"""The example of docs/backends.md is a backend that keeps the promises of all backends."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cloudbutton_backend.backends import capabilities
from cloudbutton_backend.backends.protocol import Backend, Event, Limits
from cloudbutton_backend.testing.abilities_suite import AbilitiesConformance
from cloudbutton_backend.testing.conformance import SharedFilesConformance
from cloudbutton_backend.testing.protocol_suite import RevokingConformance
from cloudbutton_backend.worker import messages

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "backends.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module", autouse=True)
def _module(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Write the example into a folder that modules are looked for in."""
    (example,) = re.findall(r"```python\n(\"\"\".*?)```", PAGE, re.S)
    folder = tmp_path_factory.mktemp("example")
    (folder / "pipe_backend.py").write_text(example, encoding="utf-8")
    sys.path.insert(0, str(folder))
    yield
    sys.path.remove(str(folder))
    sys.modules.pop("pipe_backend", None)


def new_backend() -> Backend:
    module: Any = importlib.import_module("pipe_backend")
    backend: Backend = module.PipeBackend(workers=2)
    return backend


class TestJobsOfTheExample(SharedFilesConformance):
    @classmethod
    def new_backend(cls) -> Backend:
        return new_backend()


class TestProtocolOfTheExample(RevokingConformance):
    @classmethod
    def new_backend(cls) -> Backend:
        return new_backend()


class TestAbilitiesOfTheExample(AbilitiesConformance):
    @classmethod
    def new_backend(cls) -> Backend:
        return new_backend()


def _names(kinds: Any) -> set[str]:
    return {kind.__name__ for kind in kinds}


ABILITIES = {
    name for name, kind in vars(capabilities).items() if getattr(kind, "_is_protocol", False)
} - {"Protocol"}


@pytest.mark.parametrize(
    ("what", "names"),
    [
        ("limits", set(Limits.__dataclass_fields__)),
        ("abilities", ABILITIES),
        ("members of an ability", {"terms", "health", "recover", "costs_with", "title"}),
        ("commands", {name for name in vars(Backend) if not name.startswith("_")}),
        ("events", _names(Event.__args__)),  # type: ignore[attr-defined]
        ("messages", _names(messages.TYPES.values())),
    ],
)
def test_the_page_names_all(what: str, names: set[str]) -> None:
    assert {name for name in names if not re.search(rf"`{name}\b", PAGE)} == set()
