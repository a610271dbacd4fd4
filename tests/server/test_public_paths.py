from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cloudbutton_ext.server.public_paths import PublicPaths

PLACES = PublicPaths(Path("/home/ada/my notes"))

NOTEBOOKS: dict[str, tuple[str | None, tuple[str | None, str | None]]] = {
    "below the root": ("/home/ada/my notes/sub/a.ipynb", ("sub/a.ipynb", "a.ipynb")),
    "in the root": ("/home/ada/my notes/a.ipynb", ("a.ipynb", "a.ipynb")),
    "elsewhere": ("/home/ada/other/a.ipynb", (None, "a.ipynb")),
    "beside the root": ("/home/ada/my notes 2/a.ipynb", (None, "a.ipynb")),
    "out of the root again": ("/home/ada/my notes/../a.ipynb", (None, "a.ipynb")),
    "a name alone": ("a.ipynb", (None, "a.ipynb")),
    "on Windows": (r"C:\Users\ada\a.ipynb", (None, "a.ipynb")),
    "none": (None, (None, None)),
    "empty": ("", (None, None)),
}


@pytest.mark.parametrize("case", NOTEBOOKS)
def test_a_notebook_goes_by_what_the_contents_api_calls_it(case: str) -> None:
    recorded, expected = NOTEBOOKS[case]
    assert PLACES.notebook(recorded) == expected


def test_a_root_behind_a_link_is_the_same_root(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    paths = PublicPaths(tmp_path / "link")
    for root in ("real", "link"):
        assert paths.notebook(str(tmp_path / root / "a.ipynb")) == ("a.ipynb", "a.ipynb")
    assert paths.recorded_paths("a.ipynb") == (
        str(tmp_path / "link" / "a.ipynb"),
        str(tmp_path / "real" / "a.ipynb"),
    )


@given(st.lists(st.text(st.characters(exclude_characters="/\\\0", exclude_categories=["Cs"]),
                        min_size=1).filter(lambda part: part not in (".", "..")), min_size=1))  # fmt: skip
def test_what_the_contents_api_calls_a_notebook_finds_it(parts: list[str]) -> None:
    path = "/".join(parts)
    assert path in [PLACES.notebook(each)[0] for each in PLACES.recorded_paths(path)]


def test_a_notebook_s_directory_is_below_the_root() -> None:
    assert PLACES.directory("sub/a.ipynb") == PLACES.root / "sub"
    assert PLACES.directory("") == PLACES.root
    assert PLACES.directory("../../etc/a.ipynb") == PLACES.root / "etc"


HIDDEN: dict[str, tuple[str, str]] = {
    "a path": ("/home/ada/.local/journal.db cannot be used.", "journal.db cannot be used."),
    "in quotes": ("No such file: '/tmp/x y/results'", "No such file: 'results'"),
    "with a line": ("/etc/cloudbutton.toml, line 3: no", "cloudbutton.toml, line 3: no"),
    "in brackets": ("it failed (/var/x.seg)", "it failed (x.seg)"),
    "with a full stop": ("Look at /var/log/x.log.", "Look at x.log."),
    "in the root": ("/home/ada/my notes/data/x.csv is empty", "x.csv is empty"),
    "on Windows": (r"C:\Users\ada\x.toml is empty", "x.toml is empty"),
    "a rate": ("12 items/s, and/or 3 km / h", "12 items/s, and/or 3 km / h"),
    "an address": ("see https://example.org/docs/x", "see https://example.org/docs/x"),
    "a relative path": ("sub/a.ipynb", "sub/a.ipynb"),
}


@pytest.mark.parametrize("case", HIDDEN)
def test_a_sentence_keeps_no_more_of_a_path_than_its_last_part(case: str) -> None:
    sentence, expected = HIDDEN[case]
    assert PLACES.hide_paths(sentence) == expected


@given(st.lists(st.from_regex(r"[a-z0-9_.-]+[a-z0-9]", fullmatch=True), min_size=2, max_size=6),
       st.sampled_from([" ", "(", "'", '"', "`", ": ", "\n", ""]),
       st.sampled_from([" is gone", ")", "'", ", line 3", ": no", ".", ""]))  # fmt: skip
@example(["home", "x"], "", "")
def test_no_absolute_path_is_left(parts: list[str], before: str, after: str) -> None:
    hidden = PLACES.hide_paths(f"{before}/{'/'.join(parts)}{after}")
    assert not re.search(r"(?<![\w.~-])/\w", hidden)
    assert parts[-1] in hidden
