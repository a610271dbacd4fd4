"""What an environment consists of: exact versions, wheels that fit, and nothing that code never needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudbutton_backend.backends.aws_lambda.environments import (
    EnvironmentLock,
    PinnedPackage,
    layer_build,
    lock_distributions,
    lock_for,
)
from cloudbutton_backend.backends.aws_lambda.environments.layer_build import mentioned_tests, needed
from cloudbutton_backend.backends.aws_lambda.environments.package_lock import (
    closure,
    glibc_of,
    markers_of,
)
from cloudbutton_backend.backends.aws_lambda.environments.wheels import PipResult, download, nearest
from cloudbutton_backend.backends.aws_lambda.runtimes import Platform, runtime_for
from cloudbutton_backend.errors import PackagesDoNotFit, UsageError

HERE = Platform.here()
ON_LAMBDA = Platform(python="3.12", arch="arm64", glibc=(2, 34))


# -- locks


@dataclass(frozen=True)
class Known:
    """What an installed distribution says of itself."""

    name: str
    version: str
    requires: Sequence[str] = ()
    is_pure: bool = True
    digest: str = "d"


def _closure(installed: Mapping[str, Known], *names: str, **rest: Sequence[str]) -> dict[str, str]:
    pins = closure(names, installed, markers_of(ON_LAMBDA), **rest)
    return {pin.name: pin.version for pin in pins}


INSTALLED = {
    "pandas": Known(
        "pandas", "3.0", ["numpy>=2", "tzdata; sys_platform == 'win32'", "lxml; extra == 'xml'"]
    ),
    "numpy": Known("numpy", "2.4", is_pure=False),
    "dask": Known("dask", "1", ["Pandas[xml]"]),
    "lxml": Known("lxml", "6", is_pure=False),
    "one": Known("one", "1", ["two"]),
    "two": Known("two", "1", ["one"]),
    "mine": Known("mine", "0.1", ["numpy"]),
    "broken": Known("broken", "1", ["this is not a requirement !!", "numpy"]),
    "optional": Known("optional", "1", ["absent"]),
    "linux-only": Known("linux-only", "1", ["absent; platform_machine == 'aarch64'"]),
    "cloudpickle": Known("cloudpickle", "3.1"),
}


@pytest.mark.parametrize(
    ("names", "locked"),
    [
        (["numpy"], {"numpy"}),
        (["pandas"], {"pandas", "numpy"}),
        (["dask"], {"dask", "pandas", "numpy", "lxml"}),
        (["one"], {"one", "two"}),
        (["broken"], {"broken", "numpy"}),
        (["optional"], {"optional"}),
        (["cloudpickle"], set()),
        ([], set()),
    ],
)
def test_a_lock_has_what_is_required_there_and_no_more(names: list[str], locked: set[str]) -> None:
    assert _closure(INSTALLED, *names).keys() == locked


def test_ones_own_project_travels_by_value_and_what_it_requires_is_locked() -> None:
    assert _closure(INSTALLED, "mine", by_value=["mine"]) == {"numpy": "2.4"}


def test_what_is_required_only_there_must_be_installed_here_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from cloudbutton_backend.backends.aws_lambda.environments import package_lock

    monkeypatch.setattr(package_lock, "_HERE", markers_of(replace(ON_LAMBDA, arch="x86_64")))
    with pytest.raises(PackagesDoNotFit, match="linux-only requires absent on Linux"):
        _closure(INSTALLED, "linux-only")


@given(st.permutations(["pandas", "dask", "one", "broken"]))
def test_a_lock_does_not_depend_on_the_order_of_imports(names: list[str]) -> None:
    pins = closure(names, INSTALLED, markers_of(ON_LAMBDA))
    assert (
        EnvironmentLock(ON_LAMBDA, pins).hash
        == EnvironmentLock(ON_LAMBDA, closure(sorted(names), INSTALLED, markers_of(ON_LAMBDA))).hash
    )


def test_a_lock_is_another_one_for_each_version_content_and_platform() -> None:
    pin = PinnedPackage("numpy", "2.4", "wheel")
    locks = [
        EnvironmentLock(ON_LAMBDA, (pin,)),
        EnvironmentLock(ON_LAMBDA, (replace(pin, version="2.5"),)),
        EnvironmentLock(ON_LAMBDA, (replace(pin, digest="changed"),)),
        EnvironmentLock(replace(ON_LAMBDA, arch="x86_64"), (pin,)),
        EnvironmentLock(replace(ON_LAMBDA, python="3.13"), (pin,)),
        EnvironmentLock(ON_LAMBDA, (pin, PinnedPackage("scipy", "1", "wheel"))),
    ]
    assert len({lock.hash for lock in locks}) == len(locks)
    assert EnvironmentLock.from_dict(locks[0].to_dict()) == locks[0]


def test_what_is_installed_is_found_from_what_code_imports() -> None:
    lock = lock_for(["sklearn"], HERE)
    assert lock is not None
    origins = {pin.name: pin.origin for pin in lock.pins}
    assert origins["scikit-learn"] == origins["numpy"] == origins["scipy"] == "wheel"
    assert origins["joblib"] == "copied"


def test_code_without_packages_needs_no_environment() -> None:
    assert lock_for([], HERE) is None
    assert lock_for(["cloudpickle"], HERE) is None


def test_a_package_that_is_not_installed_is_named() -> None:
    with pytest.raises(UsageError, match="no package `nosuchthing`"):
        lock_distributions(["nosuchthing"], HERE)


# -- platforms


def test_the_wheels_of_a_platform_are_those_its_system_can_load() -> None:
    old = Platform.on_lambda("3.11", "x86_64").tags
    assert "manylinux_2_26_x86_64" in old and "manylinux2014_x86_64" in old
    assert "manylinux_2_28_x86_64" not in old
    new = Platform.on_lambda("3.12", "arm64").tags
    assert "manylinux_2_28_aarch64" in new and "manylinux_2_34_aarch64" in new


@pytest.mark.parametrize(
    ("python", "day"),
    [("3.9", date(2026, 11, 20)), ("3.10", date(2027, 2, 1)), ("3.15", date(2026, 11, 20))],
)
def test_a_python_that_lambda_does_not_have_is_an_error_with_the_choices(
    python: str, day: date
) -> None:
    with pytest.raises(UsageError, match=rf"Python {python}.*3\.11, 3\.12, 3\.13, 3\.14"):
        runtime_for(python, day)


# -- what fits


@pytest.mark.parametrize(
    ("tags", "glibc"),
    [
        (["cp311-cp311-manylinux_2_27_x86_64", "cp311-cp311-manylinux_2_28_x86_64"], (2, 27)),
        (["cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64"], (2, 17)),
        (["cp311-cp311-manylinux2014_x86_64"], (2, 17)),
        (["py3-none-any"], None),
        ([], None),
    ],
)
def test_a_wheels_tags_tell_the_system_it_needs(
    tags: list[str], glibc: tuple[int, int] | None
) -> None:
    assert glibc_of(tags) == glibc


@pytest.mark.parametrize(
    ("wanted", "versions", "found"),
    [
        ("2.4.6", ["1.26", "2.2.6", "2.1"], "2.2.6"),
        ("1.0", ["1.26", "2.2.6"], "1.26"),
        ("2.0", ["2.0rc1", "1.9"], "1.9"),
        ("2.0", ["2.0rc1"], "2.0rc1"),
        ("2.0", ["none"], None),
        ("2.0", [], None),
        ("not a version", ["1"], None),
    ],
)
def test_the_nearest_version_is_the_newest_before_else_the_oldest_after(
    wanted: str, versions: list[str], found: str | None
) -> None:
    assert nearest(wanted, versions) == found


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1), st.integers(0, 9))
def test_the_nearest_version_is_one_of_those_there_are(
    versions: list[tuple[int, int]], wanted: int
) -> None:
    texts = [f"{major}.{minor}" for major, minor in versions]
    assert nearest(f"{wanted}.5", texts) in texts


def test_a_package_without_a_wheel_is_named_with_all_that_would_fit(tmp_path: Path) -> None:
    none = (
        "ERROR: Could not find a version that satisfies the requirement numpy==2.4.6 "
        "(from versions: 1.26.4, 2.2.6)\nERROR: No matching distribution found for numpy==2.4.6"
    )

    def pip(arguments: Sequence[str], _: float) -> PipResult:
        asked = " ".join(arguments)
        if "numpy" not in asked or ("install" in arguments and "manylinux_2_34_x86_64" in asked):
            return PipResult(0, "")
        return PipResult(1, none)

    where = Platform.on_lambda("3.11", "x86_64")
    pins = [PinnedPackage("numpy", "2.4.6", "wheel"), PinnedPackage("xxhash", "3.5.0", "wheel")]
    with pytest.raises(PackagesDoNotFit) as error:
        download(pins, where, tmp_path, pip)
    text = str(error.value)
    assert "numpy 2.4.6 has no wheel for Python 3.11 on x86_64, glibc 2.26" in text
    assert "pip install numpy==2.2.6" in text
    assert "notebook on Python 3.12 or later" in text
    assert "arm64" not in text and "xxhash" not in text


def test_without_pip_the_way_to_get_it_is_said(tmp_path: Path) -> None:
    no_pip = PipResult(1, "/usr/bin/python: No module named pip")
    with pytest.raises(PackagesDoNotFit, match="ensurepip"):
        download([PinnedPackage("numpy", "2", "wheel")], HERE, tmp_path, lambda *_: no_pip)


# -- what is left out


@pytest.mark.parametrize(
    ("files", "left_out"),
    [
        ({"p/__pycache__/a.pyc": b"", "p/a.py": b""}, {"p/__pycache__/a.pyc"}),
        ({"p/a.py": b"", "p/tests/test_a.py": b""}, {"p/tests/test_a.py"}),
        ({"p/a.py": b"", "p/tests/data/x.csv": b""}, {"p/tests/data/x.csv"}),
        ({"p/__init__.pyi": b"", "p/lib.c": b""}, set()),
        ({"p/__init__.py": b"from .tests.runner import run", "p/tests/runner.py": b""}, set()),
        ({"p/__init__.py": b"import p.tests", "p/tests/runner.py": b""}, set()),
        ({"p/__init__.py": b"from . import tests", "p/tests/runner.py": b""}, set()),
        ({"p/__init__.py": b"from p import other, tests", "p/tests/runner.py": b""}, set()),
        ({"p/q/a.py": b"from ..tests import x", "p/tests/x.py": b""}, set()),
        ({"p/a.py": b"open(HERE / 'tests' / 'x')", "p/tests/x": b""}, set()),
        ({"p/a.py": b"load('p.tests.x')", "p/tests/x.py": b""}, set()),
        ({"p/a.py": b"from .tests import x", "p/tests/x.py": b"", "p/q/tests/y.py": b""}, {"p/q/tests/y.py"}),
        ({"p/a.py": b"attests = 1", "p/tests/x.py": b""}, {"p/tests/x.py"}),
        ({"tests/x.py": b""}, set()),
        ({"p-1.dist-info/RECORD": b"", "p-1.dist-info/METADATA": b""}, {"p-1.dist-info/RECORD"}),
        ({"p-1.dist-info/direct_url.json": b""}, {"p-1.dist-info/direct_url.json"}),
    ],
)  # fmt: skip
def test_only_what_code_never_needs_is_left_out(
    files: dict[str, bytes], left_out: set[str]
) -> None:
    assert files.keys() - needed(files) == left_out


def test_a_mention_of_tests_is_resolved_as_an_import_would_be() -> None:
    text = b"from ..tests import x\nimport a.b.tests.c\n"
    assert set(mentioned_tests("a/b/c/d.py", text)) == {"a/b/tests"}


@pytest.mark.parametrize(
    ("name", "installed"),
    [
        ("p/a.py", "p/a.py"),
        ("p-1.data/platlib/p/a.so", "p/a.so"),
        ("p-1.data/scripts/p", None),
        ("p-1.data/data/share/x", None),
    ],
)
def test_a_wheels_file_goes_where_pip_would_put_it(name: str, installed: str | None) -> None:
    assert layer_build._installed_as(name) == installed


@pytest.mark.parametrize("name", ["../evil.py", "/etc/passwd", "p/../../evil.py", "p\\..\\evil"])
def test_a_wheel_cannot_write_outside_its_folder(name: str) -> None:
    with pytest.raises(PackagesDoNotFit, match="leads out of it"):
        layer_build._installed_as(name)
