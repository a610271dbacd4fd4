"""What a task displays where IPython is not installed is what IPython would have made of it."""

from __future__ import annotations

import sys
from typing import Any
from unittest.mock import MagicMock

import pandas as pd
import pytest
from IPython.core.formatters import DisplayFormatter
from IPython.display import HTML, Latex, Markdown

from cloudbutton_backend.worker import output
from cloudbutton_backend.worker.mime import bundle_of


class Nothing:
    """Does not know how to be displayed."""

    def __repr__(self) -> str:
        return "nothing much"


class Everything:
    """Knows many ways, some of them not today."""

    def _repr_mimebundle_(self, **_options: Any) -> Any:
        return {"text/html": "<i>whole</i>", "text/x-own": "own"}, {"text/x-own": {"width": 3}}

    def _repr_html_(self) -> str:
        return "<i>part</i>"

    def _repr_png_(self) -> Any:
        return b"png", {"height": 7}

    def _repr_latex_(self) -> None:
        return None

    def _repr_json_(self) -> Any:
        raise NotImplementedError

    def __repr__(self) -> str:
        return "everything"


@pytest.mark.parametrize(
    "thing",
    [
        pytest.param(3.5, id="number"),
        pytest.param("text", id="text"),
        pytest.param([1, "a"], id="list"),
        pytest.param(Nothing(), id="no-methods"),
        pytest.param(Everything(), id="all-methods"),
        pytest.param(pd.DataFrame({"a": [1, 2]}), id="frame"),
        pytest.param(HTML("<b>hi</b>"), id="html"),
        pytest.param(Markdown("**hi**"), id="markdown"),
        pytest.param(Latex("$x$"), id="latex"),
    ],
)
@pytest.mark.parametrize("kinds", [(None, None), ({"text/plain"}, None), (None, {"text/html"})])
def test_the_bundle_is_that_of_ipython(thing: Any, kinds: tuple[Any, Any]) -> None:
    formatter = DisplayFormatter()
    formatter.active_types = formatter.format_types  # as a kernel has it
    assert bundle_of(thing, *kinds) == formatter.format(thing, *kinds)


@pytest.mark.parametrize("thing", [Everything, MagicMock()], ids=["class", "mock"])
def test_what_has_such_names_by_accident_is_shown_as_text(thing: Any) -> None:
    assert bundle_of(thing) == ({"text/plain": repr(thing)}, {})


def test_a_method_that_fails_is_reported_and_the_rest_is_shown(
    capsys: pytest.CaptureFixture[str],
) -> None:
    class Broken:
        def _repr_html_(self) -> str:
            raise ValueError("no columns")

        def __repr__(self) -> str:
            return "broken"

    assert bundle_of(Broken()) == ({"text/plain": "broken"}, {})
    assert "ValueError: no columns" in capsys.readouterr().err


@pytest.fixture
def _no_ipython(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [n for n in sys.modules if n.partition(".")[0] == "IPython"]:
        monkeypatch.setitem(sys.modules, name, None)


@pytest.mark.usefixtures("_no_ipython")
def test_display_needs_no_ipython() -> None:
    output.patch_ipython()
    output.display(Everything(), include={"text/html"})
    ((_, bundle),) = (entry for entries in output.outputs.take().values() for entry in entries)
    assert bundle["data"] == {"text/html": "<i>whole</i>"}


def test_what_displays_itself_leaves_no_empty_picture_behind() -> None:
    class Itself:
        def _ipython_display_(self) -> None:
            output.publish_display_data({"text/plain": "by itself"})

    output.display(Itself())
    ((_, bundle),) = (entry for entries in output.outputs.take().values() for entry in entries)
    assert bundle["data"] == {"text/plain": "by itself"}
