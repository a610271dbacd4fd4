"""CPython's own tests of executors, as this interpreter ships them, run on `cloudbutton_ext.Executor`.

    python -m tests.executor.cpython [-v] [PART PARTS]

Every test that the interpreter runs on a process pool is run, but for those below. Most of their time is
spent asleep, so that parts of them may run side by side.
"""

from __future__ import annotations

import importlib
import importlib.util
import multiprocessing
import os
import pkgutil
import sys
import unittest
from types import ModuleType
from typing import Any

import cloudbutton_ext as cloud

PACKAGE = "test.test_concurrent_futures"

INTERNALS = "looks at the processes, threads or pipes inside `ProcessPoolExecutor`"
GENTLER = "wants the whole executor broken; here the one call fails, with its own error"
SHARED = (
    "wants workers of its own, replaced after some calls; ours belong to all jobs of the process"
)
NOT_RUN = {
    "test_del_shutdown": INTERNALS,
    "test_context_manager_shutdown": INTERNALS,
    "test_idle_process_reuse_multiple": INTERNALS,
    "test_idle_process_reuse_one": INTERNALS,
    "test_killed_child": INTERNALS,
    "test_processes_terminate": INTERNALS,
    "test_python_finalization_error": INTERNALS,
    "test_saturation": INTERNALS,
    "test_shutdown_deadlock_pickle": INTERNALS,
    "test_shutdown_no_wait": INTERNALS,
    "test_error_at_task_unpickle": GENTLER,
    "test_error_during_result_unpickle_in_result_handler": GENTLER,
    "test_exit_at_task_unpickle": GENTLER,
    "test_exit_during_result_pickle_on_worker": "wants a worker that ends itself to go on",
    "test_max_tasks_early_shutdown": SHARED,
    "test_max_tasks_per_child": SHARED,
    "test_max_tasks_per_child_defaults_to_spawn_context": SHARED,
    "test_traceback": "wants the worker's lines in a made-up cause; ours are in the traceback itself",
}

#: What the interpreter's modules call the tests that take any executor.
GENERAL = (
    "AsCompletedTests",
    "ExecutorDeadlockTest",
    "FailingInitializerMixin",
    "InitializerMixin",
    "ProcessPoolExecutorTest",
    "ProcessPoolShutdownTest",
    "WaitTests",
)


class Substitute(cloud.Executor):
    """Our executor, called as the tests call a process pool."""

    def __init__(self, max_workers: int | None = None, mp_context: Any = None, **options: Any):
        super().__init__(max_workers, **options)

    @property
    def _broken(self) -> str | None:
        return self._calls.broken


class OnOurWorkers:
    """Takes the place of the interpreter's `ProcessPoolSpawnMixin`."""

    executor_type = Substitute

    def get_context(self) -> Any:
        """Return what some tests take a `Manager` from; our executor has no use for it."""
        return multiprocessing.get_context("spawn")


def is_shipped() -> bool:
    """Whether this interpreter has the tests; distributions may leave them out."""
    try:
        return importlib.util.find_spec(PACKAGE) is not None
    except ModuleNotFoundError:
        return False


def modules() -> list[ModuleType]:
    """Return the interpreter's modules: one up to Python 3.11, a package of them after."""
    top = importlib.import_module(PACKAGE)
    names = [each.name for each in pkgutil.iter_modules(getattr(top, "__path__", ()))]
    return [top, *(importlib.import_module(f"{PACKAGE}.{name}") for name in names)]


def in_another_process(module: ModuleType) -> None:
    """Have the scripts that tests start use our executor, too."""
    run = module.assert_python_ok

    def with_ours(option: str, script: str) -> Any:
        ours = f"from cloudbutton_ext import Executor as {Substitute.__name__}"
        theirs = f"from concurrent.futures import {Substitute.__name__}"
        assert theirs in script
        return run(option, script.replace(theirs, ours), __isolated=False, **os.environ)

    module.assert_python_ok = with_ours  # type: ignore[attr-defined]


def tests() -> list[unittest.TestCase]:
    """Return the interpreter's tests, on our executor."""
    found: dict[str, type] = {}
    for module in modules():
        if hasattr(module, "assert_python_ok"):
            in_another_process(module)
        for name in (*GENERAL, "ExecutorMixin", "BaseTestCase"):
            if hasattr(module, name):
                found.setdefault(name, getattr(module, name))
    mixin, base = found.pop("ExecutorMixin"), found.pop("BaseTestCase")
    collected: list[unittest.TestCase] = []
    for name, general in sorted(found.items()):
        case = type(f"Cloud{name}", (OnOurWorkers, general, mixin, base), {"__module__": __name__})
        for method in unittest.defaultTestLoader.getTestCaseNames(case):
            if method not in NOT_RUN:
                collected.append(case(method))
    return collected


def main() -> None:
    cloud.map(abs, [-1]).results()  # threads and workers that stay are no leak of the first test
    part, parts = map(int, sys.argv[-2:]) if len(sys.argv) > 2 else (0, 1)
    suite = unittest.TestSuite(tests()[part::parts])
    runner = unittest.TextTestRunner(verbosity=2 if "-v" in sys.argv else 1)
    result = runner.run(suite)
    sys.exit(not (result.wasSuccessful() and result.testsRun >= 40 // parts))


if __name__ == "__main__":
    main()
