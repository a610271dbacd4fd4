"""Claims about the contract with backends: it is written down, and nothing goes past it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cloudbutton_backend.backends import capabilities

ROOT = Path(__file__).resolve().parents[1]
MODULES = sorted(
    path
    for folder in ("cloudbutton_ext", "kernel_magic", "backend")
    for path in (ROOT / folder).rglob("*.py")
)


def _members(protocol: type[Any]) -> set[str]:
    return {name for name in vars(protocol) | protocol.__annotations__ if not name.startswith("_")}


#: Of all capabilities; not those of `Backend`, some of which files have as well.
MEMBERS = {
    name
    for each in vars(capabilities).values()
    if isinstance(each, type)
    and getattr(each, "_is_protocol", False)
    and each.__name__ != "Protocol"
    for name in _members(each)
}


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _lookups(tree: ast.AST) -> Iterator[str]:
    """Yield the calls by which something is looked up on a backend by its name."""
    for node in ast.walk(tree):
        if not (
            isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and len(node.args) > 1
        ):
            continue
        owner, name = ast.unparse(node.args[0]), node.args[1]
        is_member = isinstance(name, ast.Constant) and name.value in MEMBERS
        if node.func.id in ("getattr", "hasattr") and (
            is_member or owner.rpartition(".")[2] in ("backend", "maker", "driver", "limits")
        ):
            yield f"line {node.lineno}: {ast.unparse(node)}"


def test_the_capabilities_are_what_is_looked_for() -> None:
    assert {"title", "health", "recover", "costs_with", "terms"} <= MEMBERS
    assert list(_lookups(ast.parse("getattr(x, 'health', None); hasattr(a.backend, 'y')")))


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_nothing_is_looked_up_on_a_backend_by_name(path: Path) -> None:
    assert list(_lookups(ast.parse(path.read_text(encoding="utf-8")))) == []


#: Where a backend lives, by name. What it shares with others is not decided by its name there either.
FOLDERS = {
    "dask": ("backends/dask/",),
    "lambda": ("backends/aws_lambda/", "lambda_emulator/"),
    "local": ("backends/local/",),
    "ssh": ("backends/ssh/", "worker/ssh/"),
}


def _branches(tree: ast.AST, names: frozenset[str]) -> Iterator[str]:
    """Yield the places where something depends on the name of a backend."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            parts = [node.left, *node.comparators]
        elif isinstance(node, ast.MatchValue):
            parts = [node.value]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            parts = node.args if node.func.attr in ("startswith", "endswith") else []
        else:
            continue
        constants = [each for part in parts for each in ast.walk(part)]
        if any(isinstance(each, ast.Constant) and each.value in names for each in constants):
            yield f"line {node.lineno}: {ast.unparse(node)}"


@pytest.mark.parametrize(
    "code", ["x.name == 'local'", "x in ('a', 'dask')", "x.startswith('lambda')"]
)
def test_a_branch_on_the_name_of_a_backend_is_found(code: str) -> None:
    assert list(_branches(ast.parse(code), frozenset(FOLDERS)))


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_nothing_depends_on_the_name_of_a_backend(path: Path) -> None:
    own = {name for name, folders in FOLDERS.items() if any(f in _name(path) for f in folders)}
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert list(_branches(tree, frozenset(FOLDERS) - own)) == []
