"""Tab completion of the magics."""

from __future__ import annotations

import pytest
from IPython.core.completer import provisionalcompleter
from IPython.core.interactiveshell import InteractiveShell

from cloudbutton_magic.kernel.completion import CompletionSources, suggestions

KNOWN = CompletionSources(backends=lambda: ("local", "dask"), jobs=lambda: ["ab23", "ac45"])


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("%%cloud ", ["map", "run"]),
        ("%%cloud m", ["map"]),
        ("%%cloud map x in xs -> ys --wor", ["--workers"]),
        ("%%cloud map x in xs --workers 2 --wor", []),
        ("%%cloud --backend ", ["local", "dask"]),
        ("%%cloud map x in xs --backend l", ["local"]),
        ("%%cloud map x in xs --errors ", ["raise", "keep"]),
        ("%%cloud map x in ", []),
        ("%%cloud map x in xs ->", []),
        ("%%cloud", []),
        ("%cloud s", ["show"]),
        ("%cloud use d", ["dask"]),
        ("%cloud show a", ["ab23", "ac45"]),
        ("job = %cloud show ab", ["ab23"]),
        ("%cloud retry ab23 ", []),
        ("%cloudy s", []),
        ("cloud s", []),
    ],
)
def test_suggestions(line: str, expected: list[str]) -> None:
    assert suggestions(line, KNOWN) == expected


def offered(shell: InteractiveShell, text: str) -> list[str]:
    with provisionalcompleter():
        return [each.text for each in shell.Completer.completions(text, len(text))]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("%%cloud map x in range(3) --wor", "--workers"),
        ("%cloud sho", "show"),
        ("%cloud use loc", "local"),
    ],
)
def test_ipython_offers_them(shell: InteractiveShell, text: str, expected: str) -> None:
    assert offered(shell, text) == [expected]


def test_other_completions_are_left_alone(shell: InteractiveShell) -> None:
    shell.user_ns["my_own_name"] = 1
    assert "my_own_name" in offered(shell, "%%cloud map x in my_ow")
