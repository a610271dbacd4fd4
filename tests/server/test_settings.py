from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudbutton_backend.backends import registry
from cloudbutton_backend.errors import MissingExtra, SettingsError
from cloudbutton_backend.settings.known import FIELDS, read_value
from cloudbutton_backend.settings.sources import from_file
from cloudbutton_ext.server.settings import problem_of_backend
from cloudbutton_ext.server.settings_file import edited, write

from .conftest import Ask

EDITS: dict[str, tuple[str, dict[str, Any], str]] = {
    "into nothing": ("", {"workers": 4}, "workers = 4\n"),
    "a new one": ("retries = 1\n", {"workers": 4}, "retries = 1\nworkers = 4\n"),
    "without a last line end": ("retries = 1", {"workers": 4}, "retries = 1\nworkers = 4\n"),
    "above the tables": (
        "# mine\n[results]\nmax_age = '1 day'\n", {"workers": 4},
        "# mine\nworkers = 4\n[results]\nmax_age = '1 day'\n",
    ),
    "in a table": (
        "[results]\nmax_age = '1 day' # short\n", {"results_max_age": 7200.0},
        '[results]\nmax_age = "2 h"\n',
    ),
    "another value": ("  workers   =  2\n", {"workers": 4}, "  workers   = 4\n"),
    "with ends of Windows": ("# a\r\nworkers = 2\r\n# b\r\n", {"workers": 4}, "# a\r\nworkers = 4\n# b\r\n"),
    "below an odd character": ("# \x85\nworkers = 2\n", {"workers": 4}, "# \x85\nworkers = 4\n"),
    "removed": ("# a\nworkers = 2\n# b\n", {"workers": None}, "# a\n# b\n"),
    "removed where it is not": ("# a\n", {"workers": None}, "# a\n"),
    "a backend's, as the first": (
        "workers = 2\n", {"lambda.region": "eu-west-1"},
        'workers = 2\n\n[lambda]\nregion = "eu-west-1"\n',
    ),
    "a backend's, into nothing": ("", {"lambda.emulate": True}, "[lambda]\nemulate = true\n"),
    "a backend's, into its table": (
        "[lambda] # mine\nmemory = 512\n[results]\nmax_age = '1 day'\n",
        {"lambda.memory": 1769, "lambda.arch": "arm64", "workers": 1},
        'workers = 1\n[lambda] # mine\narch = "arm64"\nmemory = 1769\n[results]\nmax_age = \'1 day\'\n',
    ),
    "a backend's, given back": ("[lambda]\nmemory = 512\n", {"lambda.memory": None}, "[lambda]\n"),
    "several": (
        "workers = 2\nbackup = true\n",
        {"workers": None, "backup": False, "backend": "local", "results_max_bytes": 10**9},
        'backup = false\nbackend = "local"\nresults_max_bytes = "1 GB"\n',
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", EDITS)
def test_an_edit_changes_its_line_and_no_other(case: str) -> None:
    before, changes, after = EDITS[case]
    assert edited(before, changes) == after


@pytest.mark.parametrize(
    "text",
    [
        "workers = ",
        'note = """\nworkers = 2\n"""\nworkers = 3\n',
        "results = {max_age = '1 day'}\n",
    ],
)
def test_what_cannot_be_edited_safely_is_left_alone(text: str, tmp_path: Path) -> None:
    path = tmp_path / "cloudbutton.toml"
    path.write_text(text)
    with pytest.raises(SettingsError, match=r"Edit it by hand"):
        write(path, {"workers": 4, "results_max_age": 60.0})
    assert path.read_text() == text
    assert [each.name for each in tmp_path.iterdir()] == ["cloudbutton.toml"]


VALUES: dict[str, st.SearchStrategy[Any]] = {
    "workers": st.integers(1, 500),
    "memory": st.integers(1, 10_000),
    "timeout": st.floats(0.001, 1e6),
    "budget": st.floats(0, 1e6),
    "errors": st.sampled_from(["raise", "keep"]),
    "backup": st.booleans(),
    "backend": st.text(min_size=1).filter(str.strip).map(str.strip),
    "results_max_bytes": st.integers(0, 10**15),
    "results_max_age": st.floats(1, 1e9),
    "lambda.region": st.text(min_size=1),
    "lambda.memory": st.integers(128, 10_240),
    "lambda.emulate": st.booleans(),
    "moon.phase": st.floats(0, 1),
}
CHANGES = st.fixed_dictionaries(
    {}, optional={name: st.none() | value for name, value in VALUES.items()}
)


@given(st.lists(CHANGES, max_size=4))
def test_what_was_written_is_read_whatever_was_written_before(
    tmp_path_factory: pytest.TempPathFactory, rounds: list[dict[str, Any]]
) -> None:
    path = tmp_path_factory.mktemp("config") / "cloudbutton.toml"
    path.write_text("# mine\nretries = 3\n[results]\nmax_age = '1 day' # short\n")
    expected: dict[str, Any] = {"retries": 3, "results_max_age": 86_400.0}
    for changes in rounds:
        write(path, changes)
        expected |= changes
    found = {each.name: each.value for each in from_file(path)}
    assert found == {
        name: read_value(name, value) if name in FIELDS else value
        for name, value in expected.items()
        if value is not None
    }
    assert path.read_text().startswith("# mine\nretries = 3\n")


def test_a_file_keeps_its_mode_and_a_link_stays_one(tmp_path: Path) -> None:
    real, link = tmp_path / "dotfiles.toml", tmp_path / "cloudbutton.toml"
    real.write_text("retries = 1\n")
    real.chmod(0o640)
    link.symlink_to(real)
    write(link, {"workers": 4})
    assert link.is_symlink()
    assert real.read_text() == "retries = 1\nworkers = 4\n"
    assert stat.S_IMODE(real.stat().st_mode) == 0o640


def by_name(body: Any) -> dict[str, Any]:
    return {each["name"]: each for each in body["settings"]}


def test_every_setting_is_shown_with_what_a_form_needs(ask: Ask) -> None:
    shown = by_name(ask("settings").body)
    assert list(shown) == list(FIELDS)
    assert (shown["backend"]["type"], shown["backend"]["choices"]) == (
        "choice",
        [*registry.names()],
    )
    assert {name: shown[name]["type"] for name in ("workers", "timeout", "budget", "backup", "view")} == {
        "workers": "integer", "timeout": "duration", "budget": "money", "backup": "boolean",
        "view": "choice",
    }  # fmt: skip
    assert shown["view"]["choices"] == ["auto", "html", "text", "none"]
    age = shown["results_max_age"]
    assert (age["value"], age["shown"], age["source"]) == (2_592_000.0, "30 days", "default")


def test_a_setting_is_written_read_and_given_back(ask: Ask, tmp_path: Path) -> None:
    answer = ask("settings", method="PUT", body={"workers": 3, "results_max_age": "2 h"})
    assert answer.status == 200
    shown = by_name(answer.body)
    assert (shown["workers"]["value"], shown["workers"]["source"]) == (3, "your settings, line 1")
    assert shown["results_max_age"]["shown"] == "2 h"
    assert (tmp_path / "settings" / "cloudbutton.toml").read_text() == (
        'workers = 3\nresults_max_age = "2 h"\n'
    )
    shown = by_name(ask("settings", method="PUT", body={"workers": None}).body)
    assert (shown["workers"]["value"], shown["workers"]["source"]) == (None, "default")


def test_a_backend_s_own_settings_are_written_shown_and_given_back(
    ask: Ask, tmp_path: Path
) -> None:
    def own() -> Any:
        found = {each["name"]: each for each in ask("backends").body["backends"]}
        return {name: found["lambda"]["settings"][name] for name in ("region", "memory", "emulate")}

    body = {"lambda.region": "eu-west-1", "lambda.memory": 3008, "lambda.emulate": True}
    assert ask("settings", method="PUT", body=body).status == 200
    assert own() == {"region": "eu-west-1", "memory": 3008, "emulate": True}
    assert (
        ask("settings", method="PUT", body={"lambda.region": "", "lambda.memory": None}).status
        == 200
    )
    assert own() == {"region": None, "memory": 1769, "emulate": True}


def test_what_wins_over_the_file_is_named(
    ask: Ask, jp_root_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLOUDBUTTON_RETRIES", "5")
    (jp_root_dir / "sub").mkdir()
    (jp_root_dir / "sub" / "cloudbutton.toml").write_text("workers = 7\n")
    body = {"retries": 1, "workers": 1}
    shown = by_name(ask("settings", method="PUT", body=body).body)
    assert (shown["retries"]["value"], shown["retries"]["source"]) == (
        5,
        "variable CLOUDBUTTON_RETRIES",
    )
    assert (shown["workers"]["value"], shown["workers"]["source"]) == (1, "your settings, line 2")
    shown = by_name(ask("settings", notebook="sub/a.ipynb").body)
    assert (shown["workers"]["value"], shown["workers"]["source"]) == (
        7, "cloudbutton.toml beside the notebook, line 1"
    )  # fmt: skip


PROBLEMS: dict[str, tuple[dict[str, Any], str]] = {
    "too few": ({"workers": 0}, "must be a whole number, one or more"),
    "no number": ({"timeout": "soon"}, "must be a number with a unit"),
    "no choice": ({"errors": "ignore"}, "must be one of `raise`, `keep`"),
    "no such backend": ({"backend": "moon"}, "must be one of `"),
    "no such setting": ({"wokers": 2}, "there is no such setting"),
    "an odd type": ({"workers": [1, {}]}, "must be"),
    "an odd type for a choice": ({"errors": ["raise"]}, "must be"),
    "an odd backend": ({"backend": {"a": 1}}, "must be one of `"),
    "of no backend": ({"moon.phase": "new"}, "there is no such backend"),
    "no setting of the backend": ({"lambda.moons": 1}, "has no such setting"),
    "too much for the backend": ({"lambda.memory": 99}, "between 128 and 10,240"),
    "text for a number": ({"lambda.memory": "big"}, "must be a whole number"),
    "text for true or false": ({"lambda.emulate": "no"}, "must be true or false"),
    "a list for the backend": ({"lambda.memory": [1]}, "must be text, a number"),
    "endless": ({"budget": 1e999}, "must be an amount"),
}


@pytest.mark.parametrize("case", PROBLEMS)
def test_what_does_not_fit_is_named_and_nothing_is_written(
    case: str, ask: Ask, tmp_path: Path
) -> None:
    body, text = PROBLEMS[case]
    answer = ask("settings", method="PUT", body=body | {"retries": 2})
    assert answer.status == 400
    (problem,) = answer.body["problems"].values()
    assert text in problem
    assert next(iter(body)) in answer.body["message"]
    assert not answer.body["message"].endswith("..")
    assert not (tmp_path / "settings").exists()


def test_a_body_that_is_no_object_is_refused(ask: Ask) -> None:
    assert ask("settings", method="PUT", body=[1]) == (
        400, {"message": "The body of the request must be a JSON object."}
    )  # fmt: skip


def test_a_broken_file_is_named_without_its_place(ask: Ask, tmp_path: Path) -> None:
    (tmp_path / "settings").mkdir()
    (tmp_path / "settings" / "cloudbutton.toml").write_text("workers = 0\n")
    status, body = ask("settings")
    assert status == 409
    assert body["message"].startswith("cloudbutton.toml, line 1")
    assert os.sep not in body["message"]


def test_a_setting_of_a_backend_whose_packages_are_missing_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    missing = MissingExtra("Mine", "mine", ["missing"])

    def load(name: str) -> dict[str, Any]:
        raise missing

    monkeypatch.setattr(registry, "settings_of", load)
    assert problem_of_backend("mine.region", "x", ("mine",)) == str(missing)
