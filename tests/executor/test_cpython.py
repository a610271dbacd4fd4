"""CPython's own tests of process pools pass on our executor, where the interpreter ships them.

Debian's packages leave them out, as do some other builds; those of python.org and pyenv have them.
"""

from __future__ import annotations

import pytest

from tests.executor import cpython
from tests.ext.conftest import ROOT, Script

PARTS = 3

if cpython.is_shipped():

    @pytest.mark.timeout(300)
    def test_what_cpython_asks_of_a_process_pool_our_executor_does(python: Script) -> None:
        script = (
            f"import sys; sys.path.insert(0, {str(ROOT)!r}); from tests.executor import cpython; "
        )
        script += "cpython.main()"
        parts = [python("-c", script, str(part), str(PARTS)) for part in range(PARTS)]
        for process in parts:
            _, said = process.communicate(timeout=280)
            assert process.returncode == 0, said


def test_what_is_not_run_of_cpythons_tests_has_its_reason() -> None:
    assert all(len(reason) > 20 for reason in cpython.NOT_RUN.values())
    assert len(cpython.NOT_RUN) < 20
