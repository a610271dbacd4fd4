"""Ctrl-C ends the wait and the work, whichever pool it is behind."""

from __future__ import annotations

import signal
import time

import pytest

from tests.ext.conftest import Gate, Script

WAYS = {
    "pool": """
from cloudbutton_ext.multiprocessing import Pool
def run():
    with Pool(2) as pool:
        pool.map(work, range(8))
""",
    "pool, one by one": """
from cloudbutton_ext.multiprocessing import Pool
def run():
    with Pool(2) as pool:
        list(pool.imap(work, range(8)))
""",
    "joblib": """
import joblib
def run():
    with joblib.parallel_config("cloudbutton", n_jobs=2):
        joblib.Parallel()(joblib.delayed(work)(n) for n in range(8))
""",
}
SCRIPT = """
import time
import cloudbutton_ext as cloud
GATE
def work(n):
    gate.note(str(n))
    time.sleep(60)
WAY
try:
    run()
except KeyboardInterrupt:
    print("interrupted", flush=True)
print(cloud.map(abs, [-1]).results(), flush=True)
"""


@pytest.mark.parametrize("way", WAYS)
def test_an_interrupt_ends_the_wait_and_the_work(way: str, python: Script, gate: Gate) -> None:
    made = (
        f"class Gate:\n    def note(self, name): open({gate._path('mark-')!r} + name, 'w').close()"
    )
    script = SCRIPT.replace("GATE", made + "\ngate = Gate()").replace("WAY", WAYS[way])
    process = python("-c", script)
    gate.await_marks(2)
    process.send_signal(signal.SIGINT)
    start = time.monotonic()
    out, err = process.communicate(timeout=30)
    assert (out, err) == ("interrupted\n[1]\n", "")
    assert time.monotonic() - start < 10  # under a second; the rest is for busy machines
