"""Items that need more memory than their function has: named, and tried with more where there is more."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloudbutton_backend.backends.protocol import WorkerDown
from cloudbutton_backend.errors import WorkerLost
from cloudbutton_backend.testing.conformance import TaskPlace
from cloudbutton_backend.worker.child_process import exceed, resident
from tests.lambda_backend.conftest import new_backend, shared_emulator
from tests.lambda_backend.harness import BackendHarness, charge_of, the, values_of


def fill(megabytes: int) -> int:
    """Use so much memory, page by page."""
    kept = [bytes([1]) * 1_000_000 for _ in range(megabytes)]
    return len(kept)


@pytest.fixture(scope="module")
def small() -> Iterator[BackendHarness]:
    """Return a backend with a small function, beside which no larger one is deployed."""
    with BackendHarness(new_backend(shared_emulator(), memory=256, prefix="small")) as harness:
        yield harness


def test_an_item_that_exhausts_the_memory_is_named_with_peak_limit_and_advice(
    small: BackendHarness,
) -> None:
    events = small.run(small.open(fill), [1, 600])
    down = the(WorkerDown, events)
    assert down.reason == "memory" and down.item in (1, None)
    assert "256 Mi" in down.cause and "--memory" in down.cause
    assert charge_of(events).seconds > 0


def test_the_function_lives_on_after_an_item_exhausted_its_memory(small: BackendHarness) -> None:
    spec = small.open(fill)
    small.run(spec, [600])
    assert values_of(small.run(spec, [3])) == [3]


def test_an_item_runs_in_a_larger_function_where_one_is_deployed() -> None:
    with BackendHarness(new_backend(shared_emulator(), memory=1769, prefix="both")) as large:
        large.open(fill)
    place = TaskPlace(new_backend(shared_emulator(), memory=256, prefix="both"))
    try:
        job = place.start(fill, [1, 500, 2])
        assert job.results() == [1, 500, 2]
        assert job.progress.lost_workers >= 1
    finally:
        place.session.close()


def test_an_item_that_needs_more_than_there_is_fails_alone(small: BackendHarness) -> None:
    place = TaskPlace(new_backend(shared_emulator(), memory=256, prefix="small"))
    try:
        values = place.map(fill, [1, 600, 2], errors="keep")
        assert (values[0], values[2]) == (1, 2)
        assert isinstance(values[1], WorkerLost) and "--memory" in str(values[1])
    finally:
        place.session.close()


def test_what_processes_share_counts_once_against_the_memory(tmp_path: Path) -> None:
    value = tmp_path / "captured"
    value.write_bytes(bytes(64 << 20))
    program = (
        "import mmap, sys\n"
        "with open(sys.argv[1], 'rb') as file:\n"
        "    data = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)\n"
        "data.find(b'x')\n"  # touches every page
        "print(flush=True)\n"
        "sys.stdin.read()\n"
    )

    def start() -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", program, str(value)]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    with start() as one, start() as two:
        pids = [one.pid, two.pid]
        for process in (one, two):
            assert process.stdout is not None
            process.stdout.readline()
        limit = 120 << 20
        assert sum(map(resident, pids)) > limit
        assert not exceed(pids, limit) and exceed(pids, 64 << 20)
