"""A million items on ten thousand imaginary Lambda environments: `python -m benchmarks.scale`.

The dispatcher is the real one; workers, clock and bill are the simulator's. Environments come as AWS
publishes it (1,000 at once and 1,000 more every 10 s); calls cost what the price book says.
"""

from __future__ import annotations

import argparse

from cloudbutton_backend.backends.protocol import Limits
from cloudbutton_backend.cost import lambda_rate
from tests.support.scripted_faults import Crashes, Fault, LostResults
from tests.support.simulator import Trace, simulate
from tests.support.worker_startup import LAMBDA
from tests.support.workload import Work, log_normal

RATE = lambda_rate("us-east-1", "x86_64", 1769, start_seconds=1.0)


def run(
    items: int, workers: int, median: float, budget: float | None, faults: tuple[Fault, ...] = ()
) -> Trace:
    limits = Limits(
        workers=workers,
        batch_seconds=5.0,
        queue_depth=1,
        can_duplicate=True,
        retry_delay=0.5,
        first_wave=10,
        rate=RATE,
        longest_call=900.0,
    )
    work = Work(seconds=log_normal(items, median, 0.5), budget=budget, stop_on_error=False)
    return simulate(
        [work], workers=workers, limits=limits, startup=LAMBDA, latency=0.02, faults=faults
    )


def report(title: str, trace: Trace, budget: float | None) -> None:
    job = trace.jobs["job"]
    kept = "" if budget is None else f" of ${budget:,.2f}"
    print(f"{title}: {job.accepted.count(1):,} of {trace.n_items:,} items, {job.ends[-1]}")
    print(f"  makespan {trace.makespan:,.1f} s, ideal {trace.ideal:,.1f} s: × {trace.slowdown:.3f}")
    print(
        f"  spend ${job.spent:,.2f}{kept}; the work alone would cost ${RATE.per_second * trace.work:,.2f}"
    )
    print(
        f"  {trace.batches:,} calls, at most {trace.most_workers:,} workers;"
        f" dispatcher {1e6 * trace.host_seconds_per_item:.1f} µs per item,"
        f" {1e6 * trace.host_seconds / max(1, trace.batches):.0f} µs per call"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--workers", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=1.0, help="median of an item")
    parser.add_argument(
        "--parts", type=float, nargs="*", default=[1.5, 0.5], help="budgets, as parts of the cost"
    )
    options = parser.parse_args()
    size = (options.items, options.workers, options.seconds)
    plain = run(*size, None)
    spent = plain.jobs["job"].spent
    report("no budget", plain, None)
    for part in options.parts:
        budget = round(part * spent, 4)
        report(f"budget of {part:.0%} of that", run(*size, budget), budget)
    faults = (Crashes(0.0002, "batch"), LostResults(0.0002))
    budget = round(1.5 * spent, 2)
    report("crashes and lost messages, with a budget", run(*size, budget, faults), budget)


if __name__ == "__main__":
    main()
