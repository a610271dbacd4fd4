from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

import pytest

from cloudbutton_backend.errors import SettingsError
from cloudbutton_backend.storage import home as home_module
from cloudbutton_backend.storage.home import home, home_warning, private_directory, results_dir


@pytest.fixture
def chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "deep" / "home"
    monkeypatch.setenv("CLOUDBUTTON_HOME", str(path))
    return path


@pytest.fixture
def no_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home that not even root can make, and temporary files of this test's own."""
    path = tmp_path / "a-file" / "home"
    path.parent.write_text("in the way")
    monkeypatch.setenv("CLOUDBUTTON_HOME", str(path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(home_module, "_chosen_stand_in", None)
    return tmp_path


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_home_is_made_private(chosen: Path) -> None:
    assert home() == chosen
    assert mode(chosen) == 0o700
    assert home_warning() is None


def test_results_have_a_private_directory_there(chosen: Path) -> None:
    assert results_dir() == chosen / "results"
    assert mode(chosen / "results") == 0o700


@pytest.mark.parametrize("content", [[], ["journal.db"], ["results", "something-else"]])
def test_a_home_that_others_may_enter_is_tightened(chosen: Path, content: list[str]) -> None:
    chosen.mkdir(parents=True)
    chosen.chmod(0o755)
    for name in content:
        (chosen / name).touch()
    home()
    assert mode(chosen) == 0o700


@pytest.mark.parametrize("open_to", [0o722, 0o775, 0o777])
def test_a_home_in_which_others_may_have_written_is_refused_with_the_remedy(
    chosen: Path, open_to: int
) -> None:
    home()
    (chosen / "journal.db").touch()
    chosen.chmod(open_to)
    with pytest.raises(SettingsError, match=rf"mode {open_to:04o}.*`chmod 700 {chosen}`"):
        home()
    assert mode(chosen) == open_to
    chosen.chmod(0o700)
    assert home() == chosen


def test_an_empty_home_that_others_may_write_to_is_tightened(chosen: Path) -> None:
    chosen.mkdir(parents=True)
    chosen.chmod(0o777)
    assert home() == chosen
    assert mode(chosen) == 0o700


def test_a_directory_inside_is_made_private_and_stays_so(chosen: Path) -> None:
    path = private_directory("jobs")
    assert (path, mode(path)) == (chosen / "jobs", 0o700)
    path.chmod(0o755)
    assert mode(private_directory("jobs")) == 0o700


def test_results_on_a_disk_that_others_write_to_are_refused(chosen: Path, tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    (scratch / "abcd2345.seg").touch()
    scratch.chmod(0o1777)
    (home() / "results").symlink_to(scratch)
    with pytest.raises(SettingsError, match=r"mode 1777.*can be written by other users.*chmod 700"):
        results_dir()


def test_results_that_belong_to_another_user_are_refused(
    chosen: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = os.getuid()
    base = home()
    monkeypatch.setattr(os, "getuid", lambda: owner + 1)
    with pytest.raises(SettingsError, match=r"results belongs to user .*Move it away"):
        results_dir(base)


def test_another_users_directory_is_refused(chosen: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen.mkdir(parents=True)
    owner = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: owner + 1)
    with pytest.raises(SettingsError, match=r"belongs to user .*CLOUDBUTTON_HOME"):
        home()


def test_an_open_directory_with_other_things_is_left_alone(chosen: Path) -> None:
    chosen.mkdir(parents=True)
    chosen.chmod(0o755)
    (chosen / "thesis.tex").touch()
    with pytest.raises(SettingsError, match=r"mode 0755.*holds other things"):
        home()
    assert mode(chosen) == 0o755


def test_a_file_in_its_place_is_an_error(chosen: Path) -> None:
    chosen.parent.mkdir()
    chosen.touch()
    with pytest.raises(SettingsError, match="is a file"):
        home()


def test_where_home_cannot_be_written_a_private_directory_stands_in(no_home: Path) -> None:
    stand_in = home()
    assert stand_in.parent == no_home
    assert mode(stand_in) == 0o700
    assert home() == stand_in
    assert str(stand_in) in (home_warning() or "")


def test_other_processes_find_the_same_stand_in(
    no_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = home()
    monkeypatch.setattr(home_module, "_chosen_stand_in", None)
    assert home() == first


def test_a_stand_in_that_was_planted_is_not_used(no_home: Path) -> None:
    target = no_home / "target"
    target.mkdir(mode=0o700)
    planted = no_home / f"cloudbutton-{os.getuid()}"
    planted.symlink_to(target)
    assert home() not in (planted, target)
    assert mode(home()) == 0o700
