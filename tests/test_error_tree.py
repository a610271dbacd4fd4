"""The tree of errors is drawn from the classes, and the docs say of each what helps."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / "tools" / "error_tree.py"


@pytest.fixture(scope="module")
def tree() -> ModuleType:
    spec = importlib.util.spec_from_file_location("error_tree", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["backend/cloudbutton_backend/errors.py", "docs/errors.md"])
def test_the_drawing_is_that_of_the_classes(tree: ModuleType, name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    drawn = tree.redrawn(text, tree.drawing(tree.error_classes()), tree.DRAWN_IN[name])
    assert text == drawn, "run `python tools/error_tree.py --write`"


def test_every_error_that_is_raised_has_a_line_that_says_what_helps(tree: ModuleType) -> None:
    classes = tree.error_classes()
    _, _, table = (
        (ROOT / "docs" / "errors.md").read_text(encoding="utf-8").partition("## What to do")
    )

    def is_told(name: str) -> bool:
        (base, *_) = classes[name].bases
        return f"`{name}`" in table or (base != tree.TOP and is_told(base))

    parents = {base for each in classes.values() for base in each.bases}
    assert [name for name in classes if name not in parents and not is_told(name)] == []


def test_errors_of_every_package_are_found_below_others(tree: ModuleType, tmp_path: Path) -> None:
    for package, code in (
        (tree.HOME, 'class CloudError(Exception):\n    """All."""\n'),
        ("cloudbutton_ext/one.py", 'class B(m.A, ValueError):\n    """Too large; wait."""\n'),
        ("kernel_magic/cloudbutton_magic/two.py", 'class A(CloudError):\n    """Bad."""\n'),
        (
            "kernel_magic/cloudbutton_magic/three.py",
            'class C(Exception):\n    """Not one of our errors."""\n',
        ),
    ):
        file = tmp_path / package
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(code)
    assert tree.drawing(tree.error_classes(tmp_path)) == [
        "CloudError",
        "└── A       Bad",
        "    └── B   Too large (a `ValueError`, too)",
    ]
