"""What the scenarios' other processes do: `python -m benchmarks.faults.roles ROLE ARGUMENTS`."""

from __future__ import annotations

import json
import os
import random
import resource
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cloudbutton_ext as cloud
from benchmarks.faults.crash_points import CrashPoints, Phase
from benchmarks.faults.judge import judge
from benchmarks.faults.tally import Tally
from benchmarks.faults.tasks import Ledger, noted, sized, value
from cloudbutton_backend.errors import CannotContinue, UnknownName
from cloudbutton_backend.job.job import Job
from cloudbutton_backend.session import attach as attach_module
from cloudbutton_backend.session import keeper, session


def say(**facts: Any) -> None:
    """Tell the scenario something."""
    print(json.dumps(facts), flush=True)


def verdict(tally: Tally, job: Job) -> dict[str, Any]:
    """Return what a scenario is told of a job that has ended."""
    return {
        "lost": tally.lost,
        "doubled": tally.doubled,
        "wrong": tally.wrong,
        "state": job.state.value,
        "warnings": list(job.progress.warnings),
    }


def run(folder: str, n_items: int, seconds: float) -> None:
    """Run one job, and note each result as it is announced."""
    announced = Ledger(Path(folder) / "announced")
    job = cloud.map(noted(Ledger(Path(folder) / "ledger"), seconds), range(n_items), workers=2)
    say(id=job.id)
    arrived = []
    for index, got in job.as_completed():
        announced.note(index)
        arrived.append((index, got))
    say(**verdict(judge(n_items, arrived, job.results()), job))


def attach(id: str, folder: str, n_items: int) -> None:
    """Go on with a job of a process that is gone, and note each result as it is announced."""
    announced = Ledger(Path(folder) / "announced")
    try:
        job = cloud.attach(id)
    except UnknownName as error:  # killed before it was in the journal
        say(at_once=[], cannot=str(error))
        return
    say(at_once=sorted(index for index, got in job.partial().items() if got == value(index)))
    arrived = []
    try:
        for index, got in job.as_completed():
            announced.note(index)
            arrived.append((index, got))
        results = job.results()
    except CannotContinue as error:
        say(cannot=str(error))
    else:
        say(cannot="", **verdict(judge(n_items, arrived, results), job))


def run_cached(folder: str, n_items: int, seconds: float) -> None:
    """Run one job that keeps its results to be found again and uses a large value, and end in order."""
    ledger, shared = Ledger(Path(folder) / "ledger"), bytes(range(250)) * 400
    announced, inner = Ledger(Path(folder) / "announced"), noted(ledger, seconds)
    job = cloud.map(
        lambda index: inner(index) if shared else None, range(n_items), workers=2, cache=True
    )
    say(id=job.id)
    for index, _ in job.as_completed():
        announced.note(index)
    job.results()
    session.current().close()


def write_down(folder: str, n_items: int, seconds: float) -> None:
    """Write a job down for a keeper, and be gone before that is started."""

    def tell(_home: Path, job_id: str) -> None:
        say(id=job_id)
        os._exit(0)

    attach_module.start_keeper = tell
    cloud.map(noted(Ledger(Path(folder) / "ledger"), seconds), range(n_items), detach=True)


def keep(id: str) -> None:
    """Be the keeper of a job that was written down."""
    keeper.main(os.environ["CLOUDBUTTON_HOME"], id)


def crash(plays: str, at: int, phase: Phase, log: str, **how: Any) -> None:
    """Play another role, and be killed at one of the writes that it makes in the home."""
    home = Path(os.environ["CLOUDBUTTON_HOME"])
    CrashPoints(home, at, phase, Path(log)).install()
    ROLES[plays](**how)


def run_many(folder: str, n_jobs: int, n_items: int, seconds: float, first: int = 0) -> None:
    """Run jobs one after the other; the values of job k are shifted by k."""
    for number in range(first, first + n_jobs):
        job = cloud.map(noted(Ledger(Path(folder) / f"ledger-{number}"), seconds), range(n_items))
        job.wait()
        results = job.results()
        tally = judge(n_items, enumerate(results), results)
        say(id=job.id, **verdict(tally, job))
    journal = session.current().journal
    # One flush waits ten seconds for the disk, and there may be more than that to write.
    say(flushed=any(journal.flush(60) for _ in range(6)), trouble=journal.warning)


def run_slow_syncs(folder: str, seed: int, slowest: float, **how: Any) -> None:
    """The same with a disk that takes its time for each fsync."""
    chance, sync = random.Random(seed), os.fsync

    def slow(descriptor: int) -> None:
        time.sleep(chance.uniform(0.0, slowest))
        sync(descriptor)

    os.fsync = slow  # type: ignore[assignment]
    run_many(folder, **how)


def run_while_clock_jumps(folder: str, seed: int, hours: float, **how: Any) -> None:
    """The same while this process's clock jumps by up to so many hours, to and fro."""
    chance, real = random.Random(seed), time.time
    shift = 0.0
    time.time = lambda: real() + shift
    pause = threading.Event()

    def jump() -> None:
        nonlocal shift
        while not pause.wait(chance.uniform(0.0, 0.1)):
            shift = 3600 * chance.uniform(-hours, hours)

    threading.Thread(target=jump, daemon=True).start()
    run_many(folder, **how)
    pause.set()


def run_small_files(folder: str, limit: int, **how: Any) -> None:
    """The same where no file may grow beyond so many bytes."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    run_many(folder, **how)


def stream_large(n_items: int, nbytes: int, address_space: int) -> None:
    """Take large results one by one, in a process whose address space is limited."""
    resource.setrlimit(resource.RLIMIT_AS, (address_space, address_space))
    job = cloud.map(sized(nbytes), range(n_items), workers=2)
    wrong, seen = 0, bytearray(n_items)
    expected = sized(nbytes)
    for index, got in job.as_completed():
        seen[index] += 1
        wrong += got != expected(index)
    say(
        lost=seen.count(0),
        doubled=sum(times - 1 for times in seen if times > 1),
        wrong=wrong,
        state=job.state.value,
        warnings=list(job.progress.warnings),
        peak=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    )


ROLES: dict[str, Callable[..., None]] = {
    role.__name__: role
    for role in (
        run,
        attach,
        run_cached,
        write_down,
        keep,
        crash,
        run_many,
        run_slow_syncs,
        run_while_clock_jumps,
        run_small_files,
        stream_large,
    )
}


def main() -> None:
    ROLES[sys.argv[1]](**json.loads(sys.argv[2]))


if __name__ == "__main__":
    main()
