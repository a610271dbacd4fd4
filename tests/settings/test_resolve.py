from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from cloudbutton_backend.errors import SettingsError, UnknownName
from cloudbutton_backend.job_model import JobOptions
from cloudbutton_backend.settings import (
    SettingsSources,
    SettingsValues,
    describe,
    forget_used,
    resolve,
    use,
)
from cloudbutton_backend.settings.known import read_value, show_value
from cloudbutton_backend.settings.sources import line_of


@pytest.fixture
def around(tmp_path: Path) -> Iterator[SettingsSources]:
    for name in ("notebooks", "config"):
        (tmp_path / name).mkdir()
    yield SettingsSources(
        directory=tmp_path / "notebooks", config_directory=tmp_path / "config", environ={}
    )
    forget_used()


def write(directory: Path, text: str) -> None:
    (directory / "cloudbutton.toml").write_text(text)


def with_variables(around: SettingsSources, **variables: str) -> SettingsSources:
    return replace(around, environ=variables)


def test_each_place_overrides_the_ones_before_it(around: SettingsSources) -> None:
    def seen(**call: Any) -> tuple[Any, str]:
        resolved = resolve(around, **call)
        return resolved.workers, resolved.source("workers").rpartition("/")[2]

    assert seen() == (None, "default")
    write(around.config_directory, "workers = 1")
    assert seen() == (1, "cloudbutton.toml, line 1")
    write(around.directory, "# two\nworkers = 2")
    assert seen() == (2, "cloudbutton.toml, line 2")
    around = with_variables(around, CLOUDBUTTON_WORKERS="3")
    assert seen() == (3, "variable CLOUDBUTTON_WORKERS")
    use(workers=4)
    assert seen() == (4, "%cloud use")
    assert seen(workers=5) == (5, "this call")
    assert seen(workers=None) == (4, "%cloud use")
    use(workers=None)
    assert seen() == (3, "variable CLOUDBUTTON_WORKERS")


def test_values_may_be_written_as_people_write_them(around: SettingsSources) -> None:
    write(
        around.directory,
        'timeout = "90 s"\nthreshold_bytes = "1 MB"\nview = "text"\nprewarm = false\n'
        '[results]\nmax_bytes = "2 GB"\nmax_age = "7 days"\n',
    )
    found = resolve(with_variables(around, CLOUDBUTTON_BUDGET="$1.50", CLOUDBUTTON_GUARD=""))
    assert found == replace(
        found, timeout=90.0, threshold_bytes=10**6, view="text", prewarm=False, budget=1.5,
        results_max_bytes=2 * 10**9, results_max_age=7 * 86_400.0, guard="warn",
    )  # fmt: skip
    assert found.source("results_max_age").endswith("cloudbutton.toml, line 7")


def test_a_table_that_is_called_like_a_backend_has_its_own_settings(
    around: SettingsSources,
) -> None:
    write(around.config_directory, '[lambda]\nregion = "eu-west-1"\nmemory = 512\n')
    write(around.directory, "[lambda]\nmemory = 1769\n[local]\nworkers = 2\n")
    found = resolve(around)
    assert found.backends == {
        "lambda": {"region": "eu-west-1", "memory": 1769}, "local": {"workers": 2}
    }  # fmt: skip
    assert found.source("lambda.memory").endswith("cloudbutton.toml, line 2")
    assert found.workers is None


WRONG_FILES = {
    "a list in a backend's table": (
        "[lambda]\nmemory = [1]",
        SettingsError,
        r"line 2: `lambda.memory`",
    ),
    "unknown key": ("\nworker = 3", UnknownName, r"line 2.*`worker`.*Did you mean `workers`"),
    "unknown key in a table": ("[results]\nmax_byte = 3", UnknownName, r"line 2.*max_byte"),
    "wrong type": ("workers = []", SettingsError, r"line 1: `workers` is \[\]"),
    "negative": ("\n\nworkers = -1", SettingsError, r"line 3: `workers` is -1.*one or more"),
    "zero": ("workers = 0", SettingsError, "whole number, one or more"),
    "wrong choice": ('errors = "ignore"', SettingsError, r"line 1.*one of `raise`, `keep`"),
    "a unit of something else": ('timeout = "3 GB"', SettingsError, "not the unit `GB`"),
    "no TOML": ("workers = = 3", SettingsError, "not valid TOML.*line 1"),
    "no text": ("\udcff", SettingsError, "cannot be read"),
}


@pytest.mark.parametrize("case", WRONG_FILES)
def test_a_mistake_in_a_file_is_named_with_its_line(around: SettingsSources, case: str) -> None:
    text, error, message = WRONG_FILES[case]
    path = around.directory / "cloudbutton.toml"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(error, match=message) as caught:
        resolve(around)
    assert str(path) in str(caught.value)


def test_a_mistake_in_a_variable_names_it(around: SettingsSources) -> None:
    with pytest.raises(SettingsError, match=r"CLOUDBUTTON_WORKERS.*'-2'.*one or more"):
        resolve(with_variables(around, CLOUDBUTTON_WORKERS="-2"))
    with pytest.raises(UnknownName, match="Did you mean `CLOUDBUTTON_WORKERS`"):
        resolve(with_variables(around, CLOUDBUTTON_WORKER="2"))


def test_variables_that_are_no_settings_are_let_be(around: SettingsSources) -> None:
    around = with_variables(
        around, CLOUDBUTTON_HOME="/somewhere", CLOUDBUTTON_INTERNAL_FD="7", PATH="/bin"
    )
    assert resolve(around).sources == {}


def test_a_mistake_in_a_call_or_in_use_changes_nothing(around: SettingsSources) -> None:
    with pytest.raises(UnknownName, match="Did you mean `retries`"):
        resolve(around, retrys=3)
    with pytest.raises(SettingsError, match=r"%cloud use: `workers` is 0"):
        use(backend="dask", workers=0)
    with pytest.raises(UnknownName, match="`colour`"):
        use(colour=None)
    assert resolve(around).backend == "local"


@pytest.mark.parametrize(
    ("text", "keys", "line"),
    [
        ("a = 1\nb = 2", ("b",), 2),
        ("# b = 1\n b=2", ("b",), 2),
        ("[results] # here\nmax_age = 3", ("results", "max_age"), 2),
        ("results.max_age = 3", ("results", "max_age"), 1),
        ("results = { max_age = 3 }", ("results", "max_age"), 1),
        ("max_age = 1\n[results]\n'max_age' = 3", ("results", "max_age"), 3),
        ("[other]\nb = 2", ("b",), None),
    ],
)
def test_the_line_of_a_key_is_found(text: str, keys: tuple[str, ...], line: int | None) -> None:
    assert line_of(text, keys) == line


def test_defaults_are_those_of_a_job() -> None:
    options, defaults = JobOptions(), SettingsValues()
    shared = {f.name for f in fields(JobOptions)} & {f.name for f in fields(SettingsValues)}
    assert len(shared) == 10
    for name in shared:
        assert getattr(options, name) == getattr(defaults, name), name


def test_every_setting_is_described_and_shown_as_it_is_read(around: SettingsSources) -> None:
    rows = describe(resolve(around, workers=2))
    assert [row.name for row in rows] == [field.name for field in fields(SettingsValues)]
    for row in rows:
        assert row.description
        value = 2 if row.name == "workers" else getattr(SettingsValues(), row.name)
        assert read_value(row.name, row.value) == value
        assert show_value(row.name, value) == row.value
    assert {row.source for row in rows if row.name != "workers"} == {"default"}
