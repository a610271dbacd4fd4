"""What is unpickled from disk is what was written there: everything else is an error naming the file."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cloudbutton_backend.errors import SettingsError, Tampered
from cloudbutton_backend.storage import sealed_files


@pytest.fixture
def base(tmp_path: Path) -> Path:
    path = tmp_path / "home"
    path.mkdir(mode=0o700)
    return path


def sealed(base: Path, data: bytes = b"some data", purpose: str = "test") -> Path:
    path = base / "thing.job"
    sealed_files.write_sealed(path, data, purpose=purpose, base=base)
    return path


@given(st.lists(st.binary(max_size=200), max_size=5))
@settings(
    max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
def test_data_come_back_as_they_were_in_however_many_pieces(
    base: Path, pieces: list[bytes]
) -> None:
    path = base / "thing"
    sealed_files.write_sealed(path, pieces, purpose="p", base=base)
    assert bytes(sealed_files.read_sealed(path, "p", base=base)) == b"".join(pieces)
    assert sorted(os.listdir(base)) == ["key", "thing"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@given(st.data())
@settings(
    max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
def test_any_changed_bit_and_any_lost_or_added_byte_is_found(
    base: Path, data: st.DataObject
) -> None:
    path = sealed(base)
    whole = bytearray(path.read_bytes())
    how = data.draw(st.sampled_from(["flip", "cut", "add", "empty"]))
    at = data.draw(st.integers(0, 8 * len(whole) - 1))
    if how == "flip":
        whole[at // 8] ^= 1 << at % 8
    elif how == "cut":
        del whole[at // 8 :]
    elif how == "add":
        whole.insert(at // 8, 0)
    else:
        whole.clear()
    path.write_bytes(whole)
    with pytest.raises(Tampered, match=r"thing\.job"):
        sealed_files.read_sealed(path, "test", base=base)


def test_a_file_cannot_stand_in_for_another_nor_serve_another_purpose(base: Path) -> None:
    path = sealed(base)
    with pytest.raises(Tampered, match="sealed as another file"):
        sealed_files.read_sealed(path, "another purpose", base=base)
    other = path.rename(base / "other.job")
    with pytest.raises(Tampered, match=r"other\.job"):
        sealed_files.read_sealed(other, "test", base=base)


def test_another_users_seal_is_worth_nothing_here(base: Path, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir(mode=0o700)
    path = sealed(theirs).rename(base / "thing.job")
    with pytest.raises(Tampered, match="its seal does not fit"):
        sealed_files.read_sealed(path, "test", base=base)


def test_what_was_read_may_be_written_to(base: Path) -> None:
    view = sealed_files.read_sealed(sealed(base), "test", base=base)
    view[0] = 0
    assert not view.readonly


def test_a_failed_write_leaves_the_older_file_and_nothing_else(base: Path) -> None:
    path = sealed(base, b"old")

    class Failing:
        """Passes for a buffer until it is looked at closely."""

    with pytest.raises(TypeError):
        sealed_files.write_sealed(path, [b"new", Failing()], purpose="test", base=base)  # type: ignore[list-item]
    limit = base / "missing" / "thing.job"
    with pytest.raises(FileNotFoundError):
        sealed_files.write_sealed(limit, b"new", purpose="test", base=base)
    assert bytes(sealed_files.read_sealed(path, "test", base=base)) == b"old"
    assert sorted(os.listdir(base)) == ["key", "thing.job"]


def test_the_users_key_is_made_once_and_is_nobody_elses(base: Path) -> None:
    key = sealed_files.key(base)
    assert len(key) == 32 and sealed_files.key(base) == key
    assert stat.S_IMODE((base / "key").stat().st_mode) == 0o600
    assert os.listdir(base) == ["key"]


def test_all_who_need_the_first_key_at_once_get_the_same(base: Path) -> None:
    start, found = threading.Barrier(8), []

    def ask() -> None:
        start.wait(10)
        found.append(sealed_files.key(base))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(found) == 8 and len(set(found)) == 1
    assert os.listdir(base) == ["key"]


@pytest.mark.parametrize(
    ("mode", "content", "words"),
    [(0o644, bytes(32), "can be read by others.*chmod 600"), (0o600, b"short", "5 bytes")],
)
def test_a_key_that_others_can_read_or_that_is_none_is_refused(
    base: Path, mode: int, content: bytes, words: str
) -> None:
    path = base / "key"
    path.write_bytes(content)
    path.chmod(mode)
    with pytest.raises(SettingsError, match=words):
        sealed_files.key(base)


def test_a_key_in_a_directory_that_others_may_write_to_is_refused(base: Path) -> None:
    sealed_files.key(base)
    base.chmod(0o770)
    with pytest.raises(SettingsError, match=r"could replace the key.*chmod 700"):
        sealed_files.key(base)


def test_a_key_of_another_user_is_refused(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sealed_files.key(base)
    owner = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: owner + 1)
    with pytest.raises(SettingsError, match=f"belongs to user id {owner}"):
        sealed_files.key(base)
