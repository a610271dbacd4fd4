"""CPython's own tests of `multiprocessing.Pool` pass on ours, where the interpreter ships them."""

from __future__ import annotations

from tests.ext.conftest import ROOT, Script
from tests.multiprocessing import cpython

if cpython.is_shipped():

    def test_what_cpython_asks_of_its_pool_ours_does(python: Script) -> None:
        script = f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        script += "from tests.multiprocessing import cpython; cpython.main()"
        process = python("-c", script)
        _, said = process.communicate(timeout=110)
        assert process.returncode == 0, said


def test_what_is_not_run_of_cpythons_tests_has_its_reason() -> None:
    assert all(len(reason) > 20 for reason in cpython.NOT_RUN.values())
    assert len(cpython.NOT_RUN) < 10
