from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from cloudbutton_backend.errors import UnknownName, UsageError
from cloudbutton_backend.session.session import Session
from cloudbutton_backend.settings import forget_used


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Session:
    monkeypatch.chdir(tmp_path)
    return Session(tmp_path)


@pytest.fixture(autouse=True)
def _forget_the_backend_in_use() -> Iterator[None]:
    yield
    forget_used()


def workers(session: Session) -> int:
    driver = session.driver("local")
    driver.start()
    return driver.backend.limits.workers


def test_a_backend_is_made_with_what_a_file_has_under_its_name(session: Session) -> None:
    Path("cloudbutton.toml").write_text("[local]\nworkers = 3\n[lambda]\nmemory = 512\n")
    with closing(session):
        assert workers(session) == 3
        session.use("local", workers=2)
        assert workers(session) == 2


def test_what_is_used_holds_over_the_file_and_what_it_does_not_say_stays(session: Session) -> None:
    Path("cloudbutton.toml").write_text('[lambda]\nregion = "eu-west-1"\nmemory = 512\n')
    with closing(session):
        session.use("lambda", memory=1769, emulate=True)
        rows = {row.name: (row.value, row.source) for row in session.all_settings()}
    assert rows["lambda.region"][0] == "eu-west-1"
    assert rows["lambda.region"][1].endswith("cloudbutton.toml, line 2")
    assert rows["lambda.memory"] == ("1769", "%cloud use")
    assert rows["lambda.emulate"] == ("true", "%cloud use")


WRONG = {
    "a misspelt backend": ("[lokal]\nworkers = 3\n", UnknownName, "Did you mean `local`"),
    "a misspelt setting": (
        "[local]\nwokers = 3\n",
        UnknownName,
        r"line 2.*`wokers`.*Did you mean `workers`",
    ),
    "too few": ("[local]\nworkers = 0\n", UsageError, "between 1 and"),
    "text for a number": ("[local]\nworkers = 'two'\n", UsageError, "does not take its settings"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_mistake_under_a_backend_s_name_is_named(case: str, session: Session) -> None:
    text, error, message = WRONG[case]
    Path("cloudbutton.toml").write_text(text)
    with closing(session), pytest.raises(error, match=message):
        session.driver("local")


def test_a_mistake_in_a_table_is_told_when_its_backend_is_chosen(session: Session) -> None:
    Path("cloudbutton.toml").write_text("[lambda]\nmemroy = 512\n")
    with closing(session), pytest.raises(UnknownName, match=r"line 2.*Did you mean `memory`"):
        session.use("lambda", emulate=True)


def test_a_file_that_is_corrected_holds_at_once(session: Session) -> None:
    with closing(session):
        for text in ("[local]\nwokers = 3\n", "[local]\nwokers = 3\n\n"):
            Path("cloudbutton.toml").write_text(text)
            with pytest.raises(UnknownName):
                session.driver("local")
        Path("cloudbutton.toml").write_text("[local]\nworkers = 3\n")
        assert workers(session) == 3
