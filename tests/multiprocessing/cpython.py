"""CPython's own tests of `multiprocessing.Pool`, as this interpreter ships them, run on ours.

python -c "from tests.multiprocessing import cpython; cpython.main()" [-v]
"""

from __future__ import annotations

import importlib
import importlib.util
import multiprocessing
import sys
import unittest
from typing import Any

import cloudbutton_ext as cloud
from cloudbutton_ext.multiprocessing import Pool

MODULE = "test._test_multiprocessing"
CASES = ("_TestPool", "_TestPoolWorkerErrors", "_TestPoolWorkerLifetime")

NOT_RUN = {
    "test_imap_handle_iterable_exception": "wants results lost that share a chunk with the exception",
    "test_make_pool": "counts the processes of the pool; its refusals are tested in `test_pool`",
    "test_map_unplicklable": "wants the pickling's own error; ours is a `PicklingError` that names the item",
    "test_pool_worker_lifetime": "wants workers replaced after some calls; ours belong to all jobs",
    "test_resource_warning": "wants a warning of processes that were not ended; a pool of ours has none",
    "test_traceback": "wants the worker's lines in a made-up cause; ours are in the traceback itself",
    "test_unpickleable_result": "wants the error class of `multiprocessing`; and a lambda can travel here",
    "test_wrapped_exception": "sends its class along, which by our doing holds a pool",
    "test_worker_finalization_via_atexit_handler_of_multiprocessing": "starts a script with theirs",
}


def is_shipped() -> bool:
    """Whether this interpreter has the tests; distributions may leave them out."""
    try:
        return importlib.util.find_spec(MODULE) is not None
    except ModuleNotFoundError:
        return False


def suite() -> unittest.TestSuite:
    """Return the interpreter's tests, on our pool."""
    module = importlib.import_module(MODULE)
    tests = unittest.TestSuite()
    for name in CASES:
        own: dict[str, Any] = {"TYPE": "processes", "Pool": staticmethod(Pool)}
        case = type(f"Cloud{name}", (getattr(module, name), unittest.TestCase), own)
        for method in unittest.defaultTestLoader.getTestCaseNames(case):
            if method not in NOT_RUN:
                tests.addTest(case(method))
    return tests


def main() -> None:
    multiprocessing.Pool = Pool  # type: ignore[misc,assignment]  # some tests take it from there
    cloud.map(abs, [-1]).results()
    runner = unittest.TextTestRunner(verbosity=2 if "-v" in sys.argv else 1)
    result = runner.run(suite())
    sys.exit(not (result.wasSuccessful() and result.testsRun > 20))
