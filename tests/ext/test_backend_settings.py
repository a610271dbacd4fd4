from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from cloudbutton_backend.errors import UnknownName, UsageError
from cloudbutton_backend.session import Session
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


WRONG = {
    "a misspelt backend": ("[lokal]\nworkers = 3\n", UnknownName, "Did you mean `local`"),
    "a misspelt setting": ("[local]\nwokers = 3\n", UnknownName, "Did you mean `workers`"),
    "too few": ("[local]\nworkers = 0\n", UsageError, "between 1 and"),
    "text for a number": ("[local]\nworkers = 'two'\n", UsageError, "does not take its settings"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_mistake_under_a_backend_s_name_is_named(case: str, session: Session) -> None:
    text, error, message = WRONG[case]
    Path("cloudbutton.toml").write_text(text)
    with closing(session), pytest.raises(error, match=message):
        session.driver("local")
