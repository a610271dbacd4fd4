from __future__ import annotations

import itertools
import os
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

from cloudbutton_backend.backends import registry
from cloudbutton_backend.settings import ResolvedSettings
from cloudbutton_backend.settings.forms import setting
from cloudbutton_ext.server import backends
from cloudbutton_ext.server.backends import settings_schema, summary

from .conftest import Ask
from .processes import ROOT


class Moon:
    """Computers on the moon,
    when it is up.

    Parameters
    ----------
    craters, seas
        How many to use;
        None for all.
    phase : str
        Of the moon.

    Raises
    ------
    UsageError
        It is cloudy.
    """

    title = "The Moon"
    costs = True

    def __init__(
        self,
        craters: int | None = None,
        seas: float = 1.5,
        phase: Literal["new", "full"] = "new",
        shine: bool = True,
        *,
        clock: object = None,
    ) -> None: ...

    def health(self) -> Iterator[tuple[str, bool, str]]:
        yield "rocket", True, "on its way"
        yield "fuel", False, "/secret/tank/gauge.txt is empty."

    def close(self) -> None: ...


@dataclass(frozen=True)
class MoonSettings:
    craters: int | None = None
    phase: Literal["new", "full"] = setting("new", "Phase", "Of the moon.")
    rocket: Any = None


class DeclaredMoon:
    """Has its settings in a dataclass."""

    settings_class = MoonSettings

    def __init__(self, settings: MoonSettings) -> None:
        self.settings = settings


@pytest.fixture
def moon(monkeypatch: pytest.MonkeyPatch) -> type[Moon]:
    monkeypatch.setitem(registry._BUILT_IN, "moon", lambda: Moon)  # type: ignore[arg-type, return-value]
    return Moon


def test_a_form_is_derived_from_signature_and_docstring() -> None:
    assert settings_schema(Moon)["properties"] == {
        "craters": {
            "title": "Craters", "description": "How many to use; None for all.",
            "type": ["integer", "null"], "default": None,
        },
        "seas": {
            "title": "Seas", "description": "How many to use; None for all.", "type": "number",
            "default": 1.5,
        },
        "phase": {
            "title": "Phase", "description": "Of the moon.", "enum": ["new", "full"], "default": "new",
        },
        "shine": {"title": "Shine", "description": "", "type": "boolean", "default": True},
    }  # fmt: skip
    assert summary(Moon) == "Computers on the moon, when it is up."


def test_a_form_is_derived_from_the_class_of_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry._BUILT_IN, "declared", lambda: DeclaredMoon)  # type: ignore[arg-type, return-value]
    assert settings_schema(registry.maker("declared"))["properties"] == {
        "craters": {"title": "Craters", "type": ["integer", "null"], "default": None},
        "phase": {
            "title": "Phase", "description": "Of the moon.", "enum": ["new", "full"], "default": "new",
        },
    }  # fmt: skip
    assert registry.settings_of("declared") == {"craters": None, "phase": "new", "rocket": None}
    made: Any = registry.create("declared", craters=3)
    assert made.settings == MoonSettings(craters=3)


@pytest.mark.usefixtures("moon")
def test_backends_are_listed_with_the_one_in_use(ask: Ask) -> None:
    found = {each["name"]: each for each in ask("backends").body["backends"]}
    local, moon = found["local"], found["moon"]
    assert (local["in_use"], local["costs"], local["available"], local["problem"]) == (
        True, False, True, None
    )  # fmt: skip
    assert local["schema"]["properties"]["workers"]["type"] == ["integer", "null"]
    assert local["settings"] == {"workers": None}
    assert (moon["title"], moon["in_use"], moon["costs"]) == ("The Moon", False, True)
    assert moon["settings"] == {"craters": None, "seas": 1.5, "phase": "new", "shine": True}


def test_lambda_is_known_to_cost_money_and_has_a_form(ask: Ask) -> None:
    found = {each["name"]: each for each in ask("backends").body["backends"]}["lambda"]
    assert (found["costs"], found["available"], found["in_use"]) == (True, True, False)
    assert found["schema"]["properties"]["memory"]["maximum"] == 10_240
    assert found["settings"]["memory"] == 1769


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ModuleNotFoundError("No module named 'rocket'"), "No module named 'rocket'"),
        (RuntimeError("/home/ada/secret"), "It cannot be loaded: RuntimeError."),
    ],
)
def test_a_backend_that_cannot_be_loaded_is_listed_with_the_reason(
    error: Exception, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load() -> Any:
        raise error

    monkeypatch.setitem(registry._BUILT_IN, "moon", load)
    found = backends.describe_backend("moon", ResolvedSettings())
    assert found["available"] is False
    assert expected in found["problem"]


def test_local_is_well_here(ask: Ask) -> None:
    body = ask("backends/local/health").body
    assert body["ok"] is True
    assert {"Python", "packages", "CPUs", "home", "journal"} <= {
        line["name"] for line in body["lines"]
    }
    assert "local workers" not in {line["name"] for line in body["lines"]}


@pytest.mark.usefixtures("moon")
def test_a_backend_tells_of_its_own_health(ask: Ask) -> None:
    assert ask("backends/moon/health").body == {
        "ok": False,
        "lines": [
            {"name": "rocket", "ok": True, "status": "ok", "detail": "on its way"},
            {
                "name": "fuel",
                "ok": False,
                "status": "problem",
                "detail": "gauge.txt is empty.",
            },
        ],
    }


def test_a_look_that_takes_too_long_ends(
    ask: Ask, moon: type[Moon], monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = threading.Event()
    monkeypatch.setattr(backends, "HEALTH_TIMEOUT", 0.05)
    monkeypatch.setattr(moon, "health", lambda self: [gate.wait(20)][:0])
    status, body = ask("backends/moon/health")
    gate.set()
    assert (status, "took longer than 0.05 s" in body["message"]) == (504, True)


def test_settings_that_were_saved_are_looked_at_though_an_older_look_goes_on(
    ask: Ask, moon: type[Moon], monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, looks = threading.Event(), itertools.count()
    monkeypatch.setattr(moon, "health", lambda self: [next(looks) or gate.wait(20)][:0])
    monkeypatch.setattr(backends, "HEALTH_TIMEOUT", 0.05)
    assert ask("backends/moon/health").status == 504
    monkeypatch.setattr(backends, "HEALTH_TIMEOUT", 10.0)
    assert ask("settings", method="PUT", body={"moon.craters": 3}).status == 200
    assert ask("backends/moon/health") == (200, {"ok": True, "lines": []})
    gate.set()


@pytest.mark.parametrize(("method", "path"), [("GET", "health"), ("POST", "test")])
def test_an_unknown_backend_is_named_with_the_known_ones(method: str, path: str, ask: Ask) -> None:
    status, body = ask(f"backends/locl/{path}", method=method)
    assert status == 404
    assert "Did you mean `local`?" in body["message"]


def test_a_trial_runs_two_items_and_times_each_step(
    ask: Ask, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(str(ROOT / part) for part in PARTS))
    status, body = ask("backends/local/test", method="POST")
    assert (status, body["ok"], body["message"]) == (200, True, "local gave both answers.")
    assert [step["name"] for step in body["steps"]] == [
        "start the backend", "capture the function", "first result", "second result", "close",
    ]  # fmt: skip
    assert all(0 <= step["seconds"] < 30 for step in body["steps"])
    assert ask("jobs").body["total"] == 0  # a trial is no job of the user's


PARTS = (".", "kernel_magic", "backend")


def test_a_trial_that_hangs_is_ended_with_all_it_started(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    script = (
        "import json, subprocess, sys, time\n"
        "print(json.dumps({'name': 'start the backend', 'seconds': 0.5}), flush=True)\n"
        f"child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        f"open({str(pid)!r}, 'w').write(str(child.pid))\n"
        "time.sleep(60)\n"
    )
    began = time.monotonic()
    report = backends.run_selftest([sys.executable, "-c", script], patience=2.0)
    assert time.monotonic() - began < 10
    assert report["ok"] is False
    assert report["steps"] == [{"name": "start the backend", "seconds": 0.5}]
    assert (
        report["message"] == "It was ended after 2 s: nothing more came after “start the backend”."
    )
    deadline = time.monotonic() + 10
    while _runs(int(pid.read_text())):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


REPORTS: dict[str, tuple[bytes, int | None, str, str]] = {
    "it said why": (b'{"message": "no way"}\n', 1, "", "no way"),
    "it fell": (
        b"",
        -11,
        "Fatal Python error",
        "The test ended with exit code -11: Fatal Python error",
    ),
    "without a word": (b"", 3, "", "The test ended with exit code 3"),
    "before anything": (
        b"",
        None,
        "",
        "It was ended after 9 s: nothing more came before the first step.",
    ),
    "with noise": (b'hello\n{"message": "fine"}\nbye\n', 0, "", "fine"),
    "with noise like ours": (b'{hello}\n{"message": "fine"}\n[1]\n{"na', 0, "", "fine"),
}


@pytest.mark.parametrize("case", REPORTS)
def test_what_a_trial_says(case: str) -> None:
    output, code, last_error_line, message = REPORTS[case]
    report = backends.selftest_report(
        output, code=code, patience=9.0, last_error_line=last_error_line
    )
    assert report == {"ok": code == 0, "steps": [], "message": message}
