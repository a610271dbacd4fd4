"""What we rely on beyond others' documentation is there, each by its name; and all of it is listed."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import pytest

from . import scan, table


@pytest.mark.parametrize("surface", table.SURFACES, ids=str)
def test_surface(surface: table.Surface, request: pytest.FixtureRequest) -> None:
    needed = inspect.signature(surface.check).parameters
    surface.check(
        **{name: request.getfixturevalue(name) for name in needed if not name.startswith("_")}
    )


NAMES = [name for surface in table.SURFACES for name in surface.names]
LISTED = table.DOCUMENTED | set(NAMES)


def _is_listed(name: str) -> bool:
    """Tell whether a name is listed, or is a container's own that is."""
    parts = name.split(".")
    stars = {".".join([*parts[:at], "*"]) for at in range(1, len(parts) + 1)}
    return name in LISTED or not stars.isdisjoint(LISTED)


@pytest.mark.parametrize(
    "find", [scan.imported, scan.received, scan.overridden, scan.in_pages], ids=lambda f: f.__name__
)
def test_what_is_used_is_listed(find: Callable[[], scan.Uses]) -> None:
    uses = find()
    assert uses, "nothing was found: the scan is out of date"
    assert {name: files for name, files in uses.items() if not _is_listed(name)} == {}


#: Documented by Python, or one of our names that none of our code defines as Python sees it.
NOT_FOREIGN = {"_asdict", "_attributes", "_exit", "_fields", "_getframe", "_make"}


def test_each_private_attribute_in_use_is_listed() -> None:
    last = {part for name in LISTED for part in name.split(".")}
    uses = {name: files for name, files in scan.private().items() if name not in NOT_FOREIGN}
    assert {name: files for name, files in uses.items() if name not in last} == {}


def test_what_is_listed_is_used() -> None:
    used = {**scan.imported(), **scan.received(), **scan.overridden(), **scan.in_pages()}
    used |= scan.private()
    files = [*scan.python_files(), *(scan.ROOT / "labextension" / "src").rglob("*.ts")]
    text = "\n".join(path.read_text(encoding="utf-8") for path in files)
    idle = [
        name
        for name in [*NAMES, *table.DOCUMENTED]
        if " " not in name  # told in words
        and not any(use == name or use.startswith(name.removesuffix("*")) for use in used)
        and name.rpartition(".")[2].strip("`*") not in text
    ]
    assert idle == []


def test_no_name_is_listed_twice() -> None:
    assert sorted(NAMES) == sorted(set(NAMES)) and not table.DOCUMENTED & set(NAMES)


def test_each_surface_says_why() -> None:
    assert [str(surface) for surface in table.SURFACES if len(surface.why.split()) < 5] == []
