"""The first line of a cloud cell."""

from __future__ import annotations

import ast
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudbutton_backend.errors import UnknownName, UsageError
from cloudbutton_magic.cells.header import (
    ButtonHeader,
    HeaderError,
    MapHeader,
    RunHeader,
    parse_header,
)


@dataclass(frozen=True)
class Case:
    line: str
    targets: tuple[str, ...]
    source: str
    results: tuple[str, ...] = ()
    options: str = ""


CASES = [
    Case("map x in xs", ("x",), "x in xs"),
    Case("map x in xs -> ys", ("x",), "x in xs", ("ys",)),
    Case("  map   x in xs->ys", ("x",), "x in xs", ("ys",)),
    Case("map a, b in d.items() -> y, z", ("a", "b"), "a, b in d.items()", ("y", "z")),
    Case("map (a, *b), c in q", ("a", "b", "c"), "(a, *b), c in q"),
    Case(
        "map lr in rates for d in range(2, 9) if lr * d < 1 -> m --backend lambda --memory 2048",
        ("lr", "d"),
        "lr in rates for d in range(2, 9) if lr * d < 1",
        ("m",),
        "--backend lambda --memory 2048",
    ),
    Case("map x in xs --workers 2 -> ys", ("x",), "x in xs", ("ys",), "--workers 2"),
    Case("map x in xs --workers 2 -> y --quiet", ("x",), "x in xs", ("y",), "--workers 2 --quiet"),
    Case("map s in ['->', \"a --b\"] -> y", ("s",), "s in ['->', \"a --b\"]", ("y",)),
    Case("map s in ['it\\'s -> me'] -> y", ("s",), "s in ['it\\'s -> me']", ("y",)),
    Case("map x in f(a --b) -> y", ("x",), "x in f(a --b)", ("y",)),
    Case("map x in xs if (lambda: 1)() -> y", ("x",), "x in xs if (lambda: 1)()", ("y",)),
    Case("map x in xs --name 'a -> b' -> y", ("x",), "x in xs", ("y",), "--name 'a -> b'"),
    Case("map x in xs -> ys # a comment -> no", ("x",), "x in xs", ("ys",)),
    Case("map xs -> ys", (), "xs", ("ys",)),
    Case("map [1, 2]", (), "[1, 2]"),
    Case("map größe in maße -> ergebnis", ("größe",), "größe in maße", ("ergebnis",)),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.line)
def test_a_map_header_is_taken_apart(case: Case) -> None:
    header = parse_header(case.line)
    assert isinstance(header, MapHeader)
    assert header.targets == case.targets
    assert header.source == case.source
    assert header.results == case.results
    if "#" not in case.line:
        assert header.options == case.options
    assert f"%%cloud {case.line}"[header.column :].startswith(case.source)


@pytest.mark.parametrize(
    ("line", "header"),
    [
        ("", ButtonHeader(options="")),
        ("--dry-run", ButtonHeader(options="--dry-run")),
        ("run", RunHeader(results=(), options="")),
        ("run -> a, b --quiet", RunHeader(results=("a", "b"), options="--quiet")),
        ("run --quiet", RunHeader(results=(), options="--quiet")),
    ],
)
def test_other_headers(line: str, header: ButtonHeader | RunHeader) -> None:
    assert parse_header(line) == header


#: The line, where the caret stands (a mark before the place), and words of the message.
MISTAKES = [
    ("map x ^on xs -> ys", "Expected `in`"),
    ("map x ^xs", "Expected `in`"),
    ("map x in^", "an iterable after `in`"),
    ("map^", "what to map over"),
    ("map ^for x in xs", "leave out the first `for`"),
    ("map x in (1, 2^", "closing bracket"),
    ("map x in xs -> ^3", "not `3`"),
    ("map x in xs -> ^class", "not `class`"),
    ("map x in xs ->^", "a variable name after `->`"),
    ("map x in xs -> ^a b", "by commas"),
    ("map x in xs -> a, ^a", "named twice"),
    ("map x in xs -> a ^-> b", "a single `->`"),
    ("map ^a.b in xs", "a plain variable"),
    ("map a, ^b[0] in xs", "a plain variable"),
    ("map x in xs if (^y := x)", "`:=`"),
    ("run ^x", "after `run`"),
    ("^3", "`map`, `run` or an option"),
]


@pytest.mark.parametrize(("marked", "words"), MISTAKES)
def test_a_mistake_is_shown_with_a_caret_under_its_place(marked: str, words: str) -> None:
    line = marked.replace("^", "")
    with pytest.raises(HeaderError) as caught:
        parse_header(line)
    message, shown, caret = str(caught.value).splitlines()
    assert words in message
    assert shown.strip() == f"%%cloud {line}"
    assert caret.index("^") == shown.index("%") + len("%%cloud ") + marked.index("^")


@pytest.mark.parametrize("line", ["map x in xs] + [y for y in ys", "map x in xs if", "map x in 'a"])
def test_what_python_does_not_parse_is_a_usage_error(line: str) -> None:
    with pytest.raises(UsageError):
        parse_header(line)


def test_an_unknown_command_suggests_the_nearest() -> None:
    with pytest.raises(UnknownName, match="Did you mean `map`"):
        parse_header("mpa x in xs")


NAMES = st.sampled_from(["a", "b2", "long_name"])
ITERABLES = st.sampled_from(["xs", "range(3)", "f('->', [1])", "{1: '--x'}", "(lambda: xs)()"])
CLAUSES = st.builds("{} in {}".format, NAMES, ITERABLES)


@given(first=CLAUSES, rest=st.lists(CLAUSES, max_size=2), result=st.none() | NAMES)
def test_any_comprehension_survives_with_its_targets(
    first: str, rest: list[str], result: str | None
) -> None:
    source = " for ".join([first, *rest])
    arrow = f" -> {result}" if result else ""
    header = parse_header(f"map {source}{arrow} --quiet")
    assert isinstance(header, MapHeader)
    tree = ast.parse(f"[0 for {source}]", mode="eval").body
    assert isinstance(tree, ast.ListComp)
    assert header.source == source
    assert set(header.targets) == {ast.unparse(clause.target) for clause in tree.generators}
    assert header.results == ((result,) if result else ())
    assert header.options == "--quiet"


@given(st.text(max_size=40).filter(lambda text: "\n" not in text))
def test_no_line_makes_the_parser_fail_in_any_other_way(text: str) -> None:
    for line in (text, f"map {text}", f"run {text}"):
        try:
            parse_header(line)
        except UsageError as error:
            assert str(error)
